"""Densities by leaves against exact sums, and modes from few directions against all columns."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from experiments.harness import Method, Task
from kernelgp.attention import find_modes, kde

__all__ = ["tasks"]

_BANDWIDTH, _STARTS, _STEPS = 8.0, 64, 30


def tasks(*, quick: bool) -> list[Task]:
    """Gaussian points, and five clusters of 20 000 points in 200 columns."""
    n = 40_000 if quick else 100_000
    density = Task(
        name="density",
        make=lambda seed: torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)),
        score=_off,
        methods=[
            Method("kde, tree", lambda x: lambda: _kde(x, "tree")),
            Method("kde, exact", lambda x: lambda: _kde(x, "exact")),
        ],
        params={"n": n, "d": 3, "queries": 2000},
        repeats=1,
    )
    modes = Task(
        name="modes",
        make=_clusters,
        score=_density,
        methods=[
            Method("find_modes", lambda x: lambda: _ours(x)),
            Method("30 steps of mean shift", _mean_shift),
        ],
        params={"n": 20_000, "d": 200},
        repeats=3,
    )
    return [density, modes]


def _kde(x: Tensor, method: Any) -> tuple[Tensor, Tensor]:
    return kde(x, x[:2000], bandwidth=0.2, method=method, return_error=True)


def _off(x: Tensor, found: tuple[Tensor, Tensor]) -> Mapping[str, float]:
    exact, _ = _kde(x, "exact")
    off, said = (part.square().mean().sqrt().item() for part in (found[0] - exact, found[1]))
    return {"error of the logarithm": off, "standard error": said}


def _clusters(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centers = 1.5 * torch.randn(5, 200, generator=generator)
    label = torch.randint(5, (20_000,), generator=generator)
    return centers[label] + 3 * torch.randn(20_000, 200, generator=generator)


def _ours(x: Tensor) -> Tensor:
    modes, _, basins = find_modes(x, bandwidth=_BANDWIDTH, n_starts=_STARTS, random_state=0)
    return modes[basins[basins >= 0]]


def _mean_shift(x: Tensor) -> Callable[[], Tensor]:
    """From the same starts, in all columns, a fixed number of steps."""
    _, _, basins = find_modes(x, bandwidth=_BANDWIDTH, n_starts=_STARTS, random_state=0)
    starts, norms = x[basins >= 0], x.square().sum(dim=-1)

    def run() -> Tensor:
        y = starts
        for _ in range(_STEPS):
            weights = ((y @ x.mT - norms / 2) / _BANDWIDTH**2).softmax(dim=-1)
            y = weights @ x
        return y

    return run


def _density(x: Tensor, ends: Tensor) -> Mapping[str, float]:
    found = kde(x, ends, bandwidth=_BANDWIDTH, method="exact").double()
    return {"mean log density": found.mean().item(), "least log density": found.min().item()}
