"""The part of a box that a problem lives on: named pieces, each a condition to be inside of.

A piece is a formula, a callable or a boolean array of the grid's shape, and a region is where
all its pieces hold. Where one of them ends, the region has an edge, which conditions can name.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import numpy as np
import sympy
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.data import CallableField
from solvers.level_set import LevelSet, read_level_set

__all__ = ["EDGE", "CallablePiece", "FormulaPiece", "MaskPiece", "Piece", "Region", "read_region"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: The name of the edge of a region that is given without one.
EDGE = "edge"

_FORMS = "a comparison such as 'x**2 + y**2 < 1', a callable or a boolean array"


class Piece(ABC):
    """Somewhere to be inside of."""

    name: str

    @abstractmethod
    def contains(self, *coordinates: Array) -> Mask:
        """Whether points are inside, in the broadcast shape of the coordinates."""


@dataclass(frozen=True, eq=False)
class FormulaPiece(Piece):
    """Where a formula is positive."""

    name: str
    text: str
    level: LevelSet

    def contains(self, *coordinates: Array) -> Mask:
        return self.level(*coordinates) > 0

    def __repr__(self) -> str:
        return repr(self.text)


@dataclass(frozen=True, eq=False)
class CallablePiece(Piece):
    """Where a function of one array for each axis is true, or positive."""

    name: str
    function: Callable[..., Any]

    def contains(self, *coordinates: Array) -> Mask:
        # As a field it is checked for its arguments, shape and values.
        return CallableField("inside", self.function)(*coordinates) > 0

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


@dataclass(frozen=True, eq=False)
class MaskPiece(Piece):
    """The cells around those points of a uniform grid where an array is true."""

    name: str
    mask: Mask
    bounds: tuple[tuple[float, float], ...]

    def contains(self, *coordinates: Array) -> Mask:
        cells = [
            np.clip(np.rint((c - lo) / (hi - lo) * (n - 1)), 0, n - 1).astype(np.intp)
            for c, (lo, hi), n in zip(coordinates, self.bounds, self.mask.shape, strict=True)
        ]
        return self.mask[tuple(np.broadcast_arrays(*cells))]

    def __repr__(self) -> str:
        return f"array of shape {self.mask.shape}"


@dataclass(frozen=True, eq=False)
class Region:
    """Where all pieces hold.

    Attributes
    ----------
    pieces : tuple of Piece
    bounds : tuple of (float, float)
        Of the box.
    """

    pieces: tuple[Piece, ...]
    bounds: tuple[tuple[float, float], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the edges, one for each piece."""
        return tuple(piece.name for piece in self.pieces)

    def contains(self, *coordinates: Array) -> Mask:
        """Whether points are inside, in the broadcast shape of the coordinates."""
        found = [piece.contains(*coordinates) for piece in self.pieces]
        return np.logical_and.reduce(found)

    def check_grid(self, sizes: tuple[int, ...]) -> None:
        """Raise where an array is for another grid.

        Raises
        ------
        ArgumentError
        """
        for piece in self.pieces:
            if isinstance(piece, MaskPiece) and piece.mask.shape != sizes:
                given = f"a boolean array of shape {piece.mask.shape}"
                raise ArgumentError("inside", given, f"give shape {sizes}, as the grid has")

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two regions equal."""
        return tuple((p.name, _identity(p)) for p in self.pieces)

    def __repr__(self) -> str:
        if self.names == (EDGE,):
            return repr(self.pieces[0])
        return f"{{{', '.join(f'{piece.name!r}: {piece!r}' for piece in self.pieces)}}}"


def read_region(
    value: Any, axes: tuple[str, ...], bounds: tuple[tuple[float, float], ...]
) -> Region:
    """The region that `value` stands for.

    Parameters
    ----------
    value : formula, callable, boolean array, or mapping of names to these
    axes, bounds
        Of the box.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If it is none of these, cannot be read, or a name cannot be an edge's.
    """
    named = value if isinstance(value, Mapping) else {EDGE: value}
    if not named:
        raise ArgumentError("inside", "an empty mapping", f"give {_FORMS} for each name")
    for name in named:
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise ArgumentError("inside", f"the name {name!r}", "give a name such as 'hole'")
    return Region(tuple(_piece(name, v, axes, bounds) for name, v in named.items()), bounds)


def _piece(
    name: str, value: Any, axes: tuple[str, ...], bounds: tuple[tuple[float, float], ...]
) -> Piece:
    if isinstance(value, str | sympy.Basic):
        level, text = read_level_set("inside", value, axes)
        return FormulaPiece(name, text, level)
    if callable(value) and not isinstance(value, np.ndarray | torch.Tensor):
        return CallablePiece(name, value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray | Sequence):
        raise ArgumentTypeError("inside", repr(value), f"give {_FORMS}")
    try:
        mask = np.array(value)
    except ValueError as error:
        remedy = "give a boolean array of the grid's shape"
        raise ArgumentTypeError("inside", type(value).__name__, remedy) from error
    if mask.dtype != np.bool_:
        given = f"{mask.dtype} values"
        raise ArgumentTypeError("inside", given, "give booleans: array > 0, say")
    if mask.ndim != len(axes) or min(mask.shape) < 2:
        remedy = f"give one of the grid's shape, with {len(axes)} dimensions"
        raise ArgumentError("inside", f"a boolean array of shape {mask.shape}", remedy)
    if not mask.any():
        raise ArgumentError("inside", "an array that is nowhere true", "mark the cells inside")
    return MaskPiece(name, mask, bounds)


def _identity(piece: Piece) -> Any:
    match piece:
        case FormulaPiece():
            return piece.text
        case MaskPiece():
            return (piece.mask.shape, piece.mask.tobytes())
        case CallablePiece():
            return piece.function
    return id(piece)
