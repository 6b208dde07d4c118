"""Solutions in files: what `kernelgp.storage` writes, and a problem as JSON.

Nothing that is read is run: formulas go through the parser of `solvers.expression`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, CheckpointError
from kernelgp.storage import FileFormat, read_file, write_file
from solvers.collocation_posterior import CollocationPosterior
from solvers.conditions import (
    Condition,
    Dirichlet,
    Initial,
    Neumann,
    Observations,
    Periodic,
    Robin,
)
from solvers.data import LostField
from solvers.domain import Box
from solvers.expression import format_expression, parse_expression
from solvers.interpolant import ChebyshevInterpolant
from solvers.journal import fingerprint
from solvers.line_posterior import LinePosterior
from solvers.map_posterior import MapPosterior
from solvers.posterior import GPPosterior
from solvers.problem import Problem
from solvers.protocol import Posterior
from solvers.region import FormulaPiece, MaskPiece
from solvers.slabs import SlabsPosterior

__all__ = ["identify", "load_parts", "save_parts"]

_FORMAT = FileFormat("kernelgp.solution", "1", "Solution.save")
# What conditions hold that may be a formula, an array or a callable; the rest is plain.
_DATA = ("value", "velocity", "points", "values")


def save_parts(
    path: str | Path, problem: Problem, posterior: Posterior, grid: Sequence[int]
) -> Path:
    """Write a solution to one file, atomically: the path holds the old file or the new one."""
    tensors = {f"posterior/{name}": a for name, a in posterior.arrays().items()}
    header = {
        "grid": list(grid),
        "posterior": {"kind": type(posterior).__name__, "meta": posterior.meta()},
        "problem": _problem_header(problem, grid, tensors),
    }
    return write_file(path, _FORMAT, header, tensors)


def load_parts(path: str | Path) -> tuple[Problem, Posterior, tuple[int, ...]]:
    """Read problem, posterior and grid back.

    Raises
    ------
    CheckpointError
        If the file is damaged, is not one of ours, or is of another version.
    """
    header, tensors = read_file(path, _FORMAT)
    kinds = _posterior_kinds()
    kind = header["posterior"]["kind"]
    if kind not in kinds:
        remedy = f"this version reads {', '.join(kinds)}: install the one that wrote it"
        raise CheckpointError(str(path), f"a posterior of kind {kind!r}", remedy)
    prefix = "posterior/"
    arrays = {k.removeprefix(prefix): a for k, a in tensors.items() if k.startswith(prefix)}
    posterior = kinds[kind].from_arrays(arrays, header["posterior"]["meta"])
    return _problem(header["problem"], tensors), posterior, tuple(header["grid"])


def identify(problem: Problem, grid: Sequence[int]) -> str:
    """A problem in a line, with a fingerprint of all its data: equal only where these are."""
    tensors: dict[str, NDArray[Any]] = {}
    header = _problem_header(problem, grid, tensors)
    functions = [v for v in problem.data.values() if callable(v)]
    for condition in problem.conditions:
        functions += [v for v in vars(condition).values() if callable(v)]
    mesh = np.meshgrid(*problem.domain.uniform_axes(grid), indexing="ij")
    sampled = []
    for function in functions:
        # Where it may not be called, its values are not part of the problem on this grid.
        with suppress(ArithmeticError, TypeError, ValueError), np.errstate(all="ignore"):
            sampled.append(np.asarray(function(*mesh), dtype=np.float64))
    arrays = [tensors[name] for name in sorted(tensors)]
    equations = "; ".join(header["equations"])
    return f"{equations} on {problem.domain} ({fingerprint(header, *arrays, *sampled)})"


def _posterior_kinds() -> dict[str, Any]:
    kinds = (
        ChebyshevInterpolant,
        CollocationPosterior,
        GPPosterior,
        LinePosterior,
        MapPosterior,
        SlabsPosterior,
    )
    return {kind.__name__: kind for kind in kinds}


def _problem_header(
    problem: Problem, grid: Sequence[int], tensors: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    exact = problem.exact_formulas
    return {
        "equations": [equation.text for equation in problem.equations],
        "functions": list(problem.functions),
        "unknown": problem.unknown,
        "domain": [[a, *b] for a, b in zip(problem.axes, problem.domain.bounds, strict=True)],
        "inside": _region_header(problem.domain, grid, tensors),
        "data": {name: _put(name, value, tensors) for name, value in problem.data.items()},
        "conditions": [
            _condition_header(f"conditions/{i}", condition, tensors)
            for i, condition in enumerate(problem.conditions)
        ],
        "exact": {name: _put("exact", formula, tensors) for name, formula in exact.items()},
    }


def _problem(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Problem:
    exact = {name: _get("exact", stored, tensors) for name, stored in header["exact"].items()}
    exact = {name: formula for name, formula in exact.items() if isinstance(formula, sympy.Expr)}
    conditions = [
        _condition(f"conditions/{i}", c, tensors) for i, c in enumerate(header["conditions"])
    ]
    return Problem.with_exact(
        header["equations"],
        Box(
            inside=_region(header.get("inside"), tensors),
            **{axis: (lo, hi) for axis, lo, hi in header["domain"]},
        ),
        conditions,
        {name: _get(name, value, tensors) for name, value in header["data"].items()},
        exact,
        functions=header["functions"],
        unknown=header["unknown"],
    )


def _region_header(
    box: Box, grid: Sequence[int], tensors: dict[str, NDArray[Any]]
) -> dict[str, str | None] | None:
    """Formulas as text, by the name of their edge; the rest as the cells of the grid inside."""
    if box.region is None:
        return None
    header: dict[str, str | None] = {}
    for piece in box.region.pieces:
        header[piece.name] = piece.text if isinstance(piece, FormulaPiece) else None
        if header[piece.name] is None:
            mesh = np.meshgrid(*box.uniform_axes(grid), indexing="ij", sparse=True)
            mask = piece.mask if isinstance(piece, MaskPiece) else piece.contains(*mesh)
            tensors[f"problem/inside/{piece.name}"] = mask.astype(np.float64)
    return header


def _region(
    header: Mapping[str, str | None] | None, tensors: Mapping[str, NDArray[Any]]
) -> dict[str, Any] | None:
    if header is None:
        return None
    return {
        name: tensors[f"problem/inside/{name}"] > 0 if text is None else text
        for name, text in header.items()
    }


def _condition_header(
    name: str, condition: Condition, tensors: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    header: dict[str, Any] = {"kind": type(condition).__name__}
    for field in dataclasses.fields(condition):  # pyright: ignore[reportArgumentType]
        value = getattr(condition, field.name)
        if field.name in _DATA:
            header[field.name] = _put(f"{name}/{field.name}", value, tensors)
        else:
            header[field.name] = [*value] if isinstance(value, Sequence) else value
            header[field.name] = value if isinstance(value, str) else header[field.name]
    return header


def _condition(
    name: str, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> Condition:
    kinds = (Dirichlet, Initial, Neumann, Observations, Periodic, Robin)
    kind = {kind.__name__: kind for kind in kinds}[header["kind"]]
    return kind(
        **{
            key: _get(f"{name}/{key}", value, tensors) if key in _DATA else value
            for key, value in header.items()
            if key != "kind"
        }
    )


def _put(name: str, value: Any, tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Data as JSON; arrays go to `tensors`, and what neither holds is lost."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, list | tuple):
        value = np.asarray(value)
    if isinstance(value, sympy.Expr):
        value = format_expression(value)
    if value is None:
        return {"kind": "none"}
    if isinstance(value, str):
        return {"kind": "formula", "text": value} if _is_read_back(value) else {"kind": "lost"}
    if isinstance(value, np.ndarray):
        tensors[f"problem/{name}"] = value.astype(np.float64)
        return {"kind": "array"}
    if isinstance(value, int | float | np.number):
        return {"kind": "number", "value": float(value)}
    return {"kind": "lost"}


def _get(name: str, stored: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Any:
    match stored["kind"]:
        case "formula":
            return parse_expression(name, stored["text"])
        case "array":
            return tensors[f"problem/{name}"]
        case "number":
            return stored["value"]
        case "none":
            return None
        case _:
            return LostField(name)


def _is_read_back(text: str) -> bool:
    try:
        parse_expression("formula", text)
    except ArgumentError:
        return False
    return True
