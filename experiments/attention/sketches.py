"""``Aᵀ B`` from sketches of equal storage: coordinated samples against random sums."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp.attention import RowSketch

__all__ = ["tasks"]

_ROWS, _COLUMNS, _ENTRIES = 20_000, 200, 10
# A kept row costs its values, their columns and its index; a sum of rows every column.
_SIZES = {
    "priority": 2 * _ENTRIES + 1,
    "threshold": 2 * _ENTRIES + 1,
    "uniform": 2 * _ENTRIES + 1,
    "countsketch": _COLUMNS,
    "gaussian": _COLUMNS,
}
_SEEDS = 10

Found = list[tuple[Tensor, Tensor]]


def tasks(*, quick: bool) -> list[Task]:
    """At 10 000 and 40 000 numbers, by how many of the rows the two share."""
    cases = [(10_000, 0.5)] if quick else [(s, o) for s in (10_000, 40_000) for o in (1, 0.5, 0.1)]
    return [
        Task(
            name="sketches",
            make=lambda seed, overlap=overlap: _matrices(overlap, seed),
            score=_score,
            methods=[
                Method(name, lambda data, name=name, size=numbers // cost: _run(data, name, size))
                for name, cost in _SIZES.items()
            ],
            params={"numbers": numbers, "overlap": overlap},
            repeats=1,
        )
        for numbers, overlap in cases
    ]


def _matrices(overlap: float, seed: int) -> tuple[Any, Any]:
    """Half of each matrix's rows are not zero, a part of them shared; log-normal norms."""
    rng = np.random.default_rng(seed)
    columns = np.argsort(rng.random((_ROWS, _COLUMNS)), axis=1)[:, :_ENTRIES]
    first = rng.normal(size=(_ROWS, _ENTRIES))
    second = 0.7 * first + 0.7 * rng.normal(size=(_ROWS, _ENTRIES))
    norms = np.exp(rng.normal(size=(_ROWS, 1)))
    half = _ROWS // 2
    start = round(half * (1 - overlap))

    def matrix(values: Any, keep: slice) -> Any:
        rows = np.repeat(np.arange(_ROWS)[keep], _ENTRIES)
        parts = ((norms * values)[keep].ravel(), (rows, columns[keep].ravel()))
        return sparse.csr_array(parts, shape=(_ROWS, _COLUMNS))

    return matrix(first, slice(0, half)), matrix(second, slice(start, start + half))


def _run(data: tuple[Any, Any], method: Any, size: int) -> Callable[[], Found]:
    def run() -> Found:
        pairs = (tuple(RowSketch.fit(x, size, method, s) for x in data) for s in range(_SEEDS))
        return [first.matmul(second) for first, second in pairs]

    return run


def _score(data: tuple[Any, Any], found: Found) -> Mapping[str, float]:
    a, b = data
    true, scale = (a.T @ b).toarray(), np.sqrt(a.power(2).sum() * b.power(2).sum())
    errors = [np.linalg.norm(product.numpy() - true) / scale for product, _ in found]
    said = [error.square().sum().sqrt().item() / scale for _, error in found]
    return {
        "root mean square error": float(np.sqrt(np.mean(np.square(errors)))),
        "standard error": float(np.sqrt(np.mean(np.square(said)))),
    }
