"""What is known of a solution, as blocks of rows: linear functionals of features and their values.

A block is ``matrix @ c = values + noise`` over the coefficients of all unknowns side by side,
whatever it says: an equation at points, a condition on a face, sensors, or anything else that is
linear. `solvers.least_squares` conditions on any list of blocks. A `Space` lays the unknowns side
by side and makes the matrices.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.feature_basis import FeatureBasis

__all__ = ["AxisPart", "Block", "Part", "Space", "derivative_rows", "held"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

# Relative size of the smallest direction of an axis that rows are taken along.
_ROW_TOLERANCE = 1e-15


class Part(NamedTuple):
    """``coefficient ∂^orders function``: one term of a functional.

    Attributes
    ----------
    function : str
    orders : tuple of int
        One for each axis.
    coefficient : float or ndarray, shape (m,)
        One for all points, or one for each.
    """

    function: str
    orders: Orders
    coefficient: float | Array = 1.0


class AxisPart(NamedTuple):
    """``coefficient Π rows_k(function)``: one term of a functional on a product of axes.

    Attributes
    ----------
    function : str
    rows : tuple of callables
        For each axis, given the function's basis, the rows that its features on that axis have
        there: shape (n_k, r_k).
    coefficient : float
    """

    function: str
    rows: tuple[Callable[[FeatureBasis], Array], ...]
    coefficient: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """``matrix @ c = values + noise``: rows of one kind, which share their noise.

    Attributes
    ----------
    name : str
    matrix : ndarray, shape (n, p)
        Over all coefficients of a `Space`, at prior deviation one.
    values : ndarray, shape (n,)
    noise : float or None
        Standard deviation of a value; None is exact, and is given the solver's nugget.
    count : int
        The number of values; larger than n where `compressed` has been at work.
    """

    name: str
    matrix: Array
    values: Array
    noise: float | None = None
    count: int = -1

    def __post_init__(self) -> None:
        if self.count < 0:
            object.__setattr__(self, "count", len(self.values))

    def compressed(self) -> "Block":
        """At most p + 1 rows that say the same: a QR factorisation, O(n p²).

        What no coefficients can explain stays in the last row, so that evidence and noise
        are those of all values.
        """
        n, p = self.matrix.shape
        if n <= p + 1:
            return self
        stack = np.column_stack([self.matrix, self.values])
        triangle: Array = np.asarray(np.linalg.qr(stack, mode="r"))
        return replace(self, matrix=triangle[:, :p], values=triangle[:, p])


def held(
    blocks: Sequence[Block],
    free: NDArray[np.bool_],
    state: Array,
    noise: Sequence[float | None] | None = None,
) -> list[Block]:
    """Rows over some of the columns, the others held at their values in `state`.

    Parameters
    ----------
    blocks
    free : bool ndarray, shape (p,)
    state : ndarray, shape (p,)
    noise
        Standard deviations to put in, one for each block; None leaves what is there.
    """
    sds = [block.noise for block in blocks] if noise is None else noise
    return [
        Block(b.name, b.matrix[:, free], b.values - b.matrix[:, ~free] @ state[~free], sd, b.count)
        for b, sd in zip(blocks, sds, strict=True)
    ]


class Space:
    """Unknown functions and constants side by side: which columns are whose.

    Parameters
    ----------
    bases : mapping of function to FeatureBasis
    constants : sequence of str
        Unknown numbers, one column each, after all functions.

    Attributes
    ----------
    size : int
        The number p of coefficients.

    Examples
    --------
    >>> from solvers.axis_basis import AxisBasis, Component
    >>> line = FeatureBasis([AxisBasis(0.0, 1.0, [Component(0.0, 0.5)])])
    >>> space = Space({"u": line, "v": line})
    >>> points = np.linspace(0, 1, 5)[:, None]
    >>> rows = space.at_points(points, [Part("u", (1,)), Part("v", (0,), -1.0)])  # u' - v
    >>> block = Block("u' = v", rows, np.zeros(5))
    >>> block.matrix.shape == (5, 2 * line.size)
    True
    """

    def __init__(self, bases: Mapping[str, FeatureBasis], constants: Sequence[str] = ()) -> None:
        self.bases, self.constants = dict(bases), tuple(constants)
        self.slices: dict[str, slice] = {}
        start = 0
        for name, basis in self.bases.items():
            self.slices[name] = slice(start, start + basis.size)
            start += basis.size
        for name in self.constants:
            self.slices[name] = slice(start, start + 1)
            start += 1
        self.size = start

    @property
    def groups(self) -> NDArray[np.intp]:
        """For each column the number of its unknown, shape (p,)."""
        sizes = [columns.stop - columns.start for columns in self.slices.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def at_points(self, points: Array, parts: Iterable[Part]) -> Array:
        """Rows of ``Σ coefficient ∂^orders function`` at points (m, d): shape (m, p)."""
        matrix = np.zeros((len(points), self.size))
        for function, orders, coefficient in parts:
            features = self.bases[function].at_points(points, orders)
            matrix[:, self.slices[function]] += np.reshape(coefficient, (-1, 1)) * features
        return matrix

    def on_axes(self, axes: Sequence[Array], parts: Iterable[Part]) -> Array:
        """The same on the product of axes, with constant coefficients: shape (n1 ... nd, p)."""
        return self.on_products([_derivative_part(part, axes) for part in parts])

    def on_products(self, parts: Sequence[AxisPart]) -> Array:
        """Rows of any functionals that are a product over the axes, such as those on a face."""
        matrix = np.zeros((0, self.size))
        for function, rows, coefficient in parts:
            basis = self.bases[function]
            features = coefficient * basis.on_axes([row(basis) for row in rows])
            if not len(matrix):
                matrix = np.zeros((len(features), self.size))
            matrix[:, self.slices[function]] += features
        return matrix

    def projected(
        self, name: str, parts: Sequence[AxisPart], values: Array, noise: float | None = None
    ) -> Block:
        """A block on a product of axes, with no more rows than its functions can tell apart.

        On each axis the rows are projected onto an orthonormal basis of all that any part has
        there; values outside of it are no function of ours, and are left out.

        Parameters
        ----------
        name, parts
        values : ndarray, shape (n1, ..., nd)
        noise
        """
        stacks = [
            [(i, part.rows[k](self.bases[part.function])) for i, part in enumerate(parts)]
            for k in range(values.ndim)
        ]
        reduced: list[list[Array]] = [[] for _ in parts]
        for k, stack in enumerate(stacks):
            rows = _row_space([matrix for _, matrix in stack])
            for i, matrix in stack:
                reduced[i].append(rows.T @ matrix)
            values = np.moveaxis(np.tensordot(rows, values, (0, k)), 0, k)
        small = [
            AxisPart(part.function, tuple(_constant(m) for m in found), part.coefficient)
            for part, found in zip(parts, reduced, strict=True)
        ]
        return Block(name, self.on_products(small), values.ravel(), noise)


def _derivative_part(part: Part, axes: Sequence[Array]) -> AxisPart:
    rows = tuple(
        derivative_rows(k, x, order)
        for k, (x, order) in enumerate(zip(axes, part.orders, strict=True))
    )
    return AxisPart(part.function, rows, float(part.coefficient))


def derivative_rows(k: int, x: Array, order: int) -> Callable[[FeatureBasis], Array]:
    """Rows of a derivative along axis k at its coordinates."""
    return lambda basis: basis.along(k, x, order)


def _constant(matrix: Array) -> Callable[[FeatureBasis], Array]:
    return lambda _: matrix


def _row_space(matrices: Sequence[Array]) -> Array:
    """Orthonormal columns that span those of all matrices, shape (n, q)."""
    norms = [float(np.linalg.norm(m)) or 1.0 for m in matrices]
    stack = np.hstack([m / norm for m, norm in zip(matrices, norms, strict=True)])
    n, columns = stack.shape
    if n == 1:
        return np.ones((1, 1))
    if columns > 2 * n:
        # Wider than it is high: the same columns from a square matrix.
        stack = np.asarray(np.linalg.qr(stack.T, mode="r")).T
    vectors, sd, _ = np.linalg.svd(stack, full_matrices=False)
    return vectors[:, sd > _ROW_TOLERANCE * (sd[0] if math.isfinite(sd[0]) else 1.0)]
