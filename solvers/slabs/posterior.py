"""The posterior of a march: the slabs' solutions as one, and draws of its errors."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis, Component
from solvers.fourier_basis import FourierBasis
from solvers.slabs.piece import Piece
from solvers.slabs.report import SlabsReport
from solvers.slabs.warp import Layer, Warp, WarpedBasis
from solvers.tensors import evaluate_at

__all__ = ["SlabsPosterior"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

_NUMBERS = ("floor", "residual", "accepted", "steps", "size")


class SlabsPosterior:
    """Solutions of slabs that follow each other, as one.

    Deviations are root mean squares of an ensemble of errors that was carried from slab to slab,
    so that a sample is one function over the whole time.

    Parameters
    ----------
    pieces : sequence of Piece
        In the order of time, without gaps.
    functions : tuple of str
    time : int
        Which axis of the problem is time, 0 or 1.
    report : SlabsReport
    """

    def __init__(
        self, pieces: Sequence[Piece], functions: Sequence[str], time: int, report: SlabsReport
    ) -> None:
        self.pieces, self.functions = tuple(pieces), tuple(functions)
        self.time, self.report = time, report
        self._function = 0
        self._stops = np.array([piece.stop for piece in pieces[:-1]])

    def of(self, function: str) -> "SlabsPosterior":
        """The same for one of several functions."""
        other = copy.copy(self)
        other._function = self.functions.index(function)
        return other

    def mean(self, points: Array, orders: Orders | None = None) -> Array:
        """The mean, or a derivative of it, at points of shape (m, 2): shape (m,)."""
        return self._at_points(points, orders, lambda rows, piece: self._mean(rows, piece))

    def std(self, points: Array, orders: Orders | None = None) -> Array:
        """Standard deviation of the mean or of its derivative, shape (m,)."""

        def one(rows: list[Array], piece: Piece) -> Array:
            spread = np.sqrt(np.mean(np.square(self._errors(rows, piece)), axis=1))
            return np.hypot(spread, self._floor(piece, orders))

        return self._at_points(points, orders, one)

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws, shape (n_samples, m)."""
        members = self.pieces[0].errors.shape[-1]
        weights = torch.randn(members, n_samples, generator=generator, dtype=torch.double).numpy()
        weights /= math.sqrt(members)

        def one(rows: list[Array], piece: Piece) -> Array:
            return self._mean(rows, piece)[:, None] + self._errors(rows, piece) @ weights

        return self._at_points(points, None, one, n_samples).T

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders | None = None) -> Array:
        """The mean on the product of the axes, shape (m1, m2)."""
        (kx, kt), x, t = self._split(orders or (0, 0)), axes[1 - self.time], axes[self.time]
        values = np.zeros((len(x), len(t)))
        rows: dict[int, Array] = {}
        for piece, chosen in self._chosen(t):
            if id(piece.space) not in rows:
                rows[id(piece.space)] = piece.space.evaluate(x, kx)[kx]
            in_time = piece.time.evaluate(t[chosen], kt)[kt]
            C = piece.coefficients[self._function]
            values[:, chosen] = rows[id(piece.space)] @ C @ in_time.T
        return values if self.time == 1 else values.T

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        arrays: dict[str, Any] = {}
        for i, space in enumerate(self._spaces):
            layers = [(layer.center, layer.width, layer.share) for layer in space.warp.layers]
            arrays[f"layers{i}"] = np.reshape(np.array(layers, float), (-1, 3))
            arrays |= _basis_arrays(f"space{i}", space.inner)
        for i, piece in enumerate(self.pieces):
            arrays |= _basis_arrays(f"time{i}", piece.time)
            arrays[f"coefficients{i}"], arrays[f"errors{i}"] = piece.coefficients, piece.errors
        return arrays

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, fit for JSON."""
        spaces = self._spaces
        first = spaces[0]
        numbers = [{name: getattr(p, name) for name in _NUMBERS} for p in self.pieces]
        return {
            "functions": list(self.functions),
            "time": self.time,
            "bounds": [first.lower, first.upper],
            "periodic": first.warp.periodic,
            "spaces": [next(i for i, s in enumerate(spaces) if s is p.space) for p in self.pieces],
            "times": [[piece.start, piece.stop] for piece in self.pieces],
            "numbers": numbers,
            "report": self.report.to_json(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The posterior that `arrays` and `meta` were taken from."""
        lower, upper = meta["bounds"]
        spaces = []
        for i in range(max(meta["spaces"]) + 1):
            layers = tuple(Layer(*map(float, row)) for row in arrays[f"layers{i}"])
            warp = Warp(lower, upper, layers, bool(meta["periodic"]))
            basis = _read_basis(f"space{i}", arrays, lower, upper, periodic=warp.periodic)
            spaces.append(WarpedBasis(basis, warp))
        pieces = []
        for i, (start, stop) in enumerate(meta["times"]):
            time = _read_basis(f"time{i}", arrays, start, stop, periodic=False)
            pieces.append(
                Piece(
                    spaces[meta["spaces"][i]],
                    time,
                    np.array(arrays[f"coefficients{i}"]),
                    np.array(arrays[f"errors{i}"]),
                    **meta["numbers"][i],
                )
            )
        report = SlabsReport.from_json(meta["report"])
        return cls(pieces, meta["functions"], int(meta["time"]), report)

    @property
    def _spaces(self) -> list[WarpedBasis]:
        return list({id(piece.space): piece.space for piece in self.pieces}.values())

    def _split(self, orders: Orders) -> tuple[int, int]:
        return orders[1 - self.time], orders[self.time]

    def _chosen(self, t: Array) -> list[tuple[Piece, Any]]:
        """Each piece with the places of those times that are its own."""
        of = np.searchsorted(self._stops, t)
        return [(self.pieces[i], np.flatnonzero(of == i)) for i in np.unique(of)]

    def _at_points(
        self,
        points: Array,
        orders: Orders | None,
        one: Callable[[list[Array], Piece], Array],
        *columns: int,
    ) -> Array:
        (kx, kt), values = self._split(orders or (0, 0)), np.zeros((len(points), *columns))
        for piece, chosen in self._chosen(points[:, self.time]):
            there = points[chosen]
            rows = [
                piece.space.evaluate(there[:, 1 - self.time], kx)[kx],
                piece.time.evaluate(there[:, self.time], kt)[kt],
            ]
            values[chosen] = one(rows, piece)
        return values

    def _mean(self, rows: list[Array], piece: Piece) -> Array:
        return evaluate_at(rows, piece.coefficients[self._function])

    def _errors(self, rows: list[Array], piece: Piece) -> Array:
        """All members at points, shape (m, k)."""
        E = piece.errors[self._function]
        half = (rows[0] @ E.reshape(len(E), -1)).reshape(len(rows[0]), *E.shape[1:])
        return np.einsum("mtk,mt->mk", half, rows[1])

    def _floor(self, piece: Piece, orders: Orders | None) -> float:
        # A misfit that varies from one function to the next has the largest derivatives.
        kx, kt = self._split(orders or (0, 0))
        length = piece.space.upper - piece.space.lower
        duration = piece.stop - piece.start
        return piece.floor * (piece.space.rank / length) ** kx * (piece.time.rank / duration) ** kt


def _basis_arrays(name: str, basis: AxisBasis | FourierBasis) -> dict[str, Any]:
    rows = [(c.frequency, c.lengthscale, c.weight) for c in basis.components]
    order, triangle = basis.factor
    return {f"{name}_components": np.array(rows), f"{name}_0": order, f"{name}_1": triangle}


def _read_basis(
    name: str, arrays: Mapping[str, Array], lower: float, upper: float, *, periodic: bool
) -> Any:
    rows = arrays[f"{name}_components"]
    components = [Component(*(float(number) for number in row)) for row in rows]
    if periodic:
        return FourierBasis(lower, upper, components)
    factor = np.array(arrays[f"{name}_0"]).astype(np.intp), np.array(arrays[f"{name}_1"])
    return AxisBasis(lower, upper, components, factor=factor)
