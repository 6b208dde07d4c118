"""One axis of the discretisation: data rows, boundary rows, and a square matrix pencil.

The basis functions q of an axis meet the data in three places. On the grid, the columns
``A q``, ``B q`` and q span a small space, and its orthonormal rows Q compress the data.
At the ends, the conditions fix a few combinations of coefficients; the rotation
``[R1 R0]`` splits these from the free ones. Inside, a test space as large as the free
coefficients makes the equations square, in exact L2 products: grid products in their place
lose six to twelve digits where a basis is wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.axis_basis import AxisBasis
from solvers.polynomial_basis import PolynomialBasis
from solvers.section_basis import SectionBasis
from solvers.separation import AxisOperator, Separation

__all__ = ["AxisDiscretisation", "Basis", "Condition"]

Array = NDArray[np.float64]
#: Functions on an interval and a prior on their coefficients.
Basis = AxisBasis | PolynomialBasis | SectionBasis

# Relative size of the smallest direction of the row space. At 1e-12 a direction of A q is
# lost, which costs a factor of up to 100 in the error.
_ROW_TOLERANCE = 1e-14


@dataclass(frozen=True, slots=True)
class Condition:
    """``alpha u + beta du/dn`` at one end of an axis, n the outward normal."""

    end: int
    alpha: float = 1.0
    beta: float = 0.0


class AxisDiscretisation:
    """Everything that a solve needs of one axis.

    Parameters
    ----------
    basis : Basis, of rank r
    grid : ndarray, shape (n,)
    conditions
        The m conditions at the ends.
    separation : Separation
        The equation's operator.
    axis : int
        Which of its axes this is: A and B are its, and the orders of its mixed derivatives.

    Attributes
    ----------
    rows : ndarray, shape (n, p)
        Q: orthonormal on the grid; Qᵀ compresses data.
    lift : ndarray, shape (n, p)
        Takes compressed data back to the grid: Q again.
    fill : float
        The share of the grid's points that the row space takes up.
    left, right, value : ndarrays, shape (p, r)
        Qᵀ A q, Qᵀ B q, Qᵀ q.
    mixed : dict of ndarrays, shape (p, r)
        Qᵀ dᵏq/dxᵏ for every order k of a mixed term.
    boundary : ndarray, shape (m, r)
    rotation : ndarray, shape (r, r)
        ``[R1 R0]``; the boundary rows are ``[L 0] rotationᵀ``.
    boundary_factor : ndarray, shape (m, m)
        L, lower triangular.
    test : ndarray, shape (p, r - m)
        W: takes compressed data to the test space.
    quadrature : (ndarray of shape (k,), ndarray of shape (k, r - m))
        Points, and what takes values there to their exact products with the test functions.
    pencil : pair of ndarrays, shape (r - m, r - m)
    fit : ndarray, shape (r, p)
        Takes compressed values of a function on the grid to its coefficients.
    """

    def __init__(
        self,
        basis: Basis,
        grid: Array,
        conditions: Sequence[Condition],
        separation: Separation,
        axis: int = 0,
    ) -> None:
        self.basis, self.grid, self.conditions = basis, grid, tuple(conditions)
        left, right = separation.left[axis], separation.right[axis]
        mixed_orders = sorted({orders[axis] for orders in separation.mixed})
        order = max([1, *left, *right, *mixed_orders])
        operators = [left, right, {0: 1.0}, *({k: 1.0} for k in mixed_orders)]

        at_grid, at_nodes = basis.evaluate(grid, order), basis.evaluate(basis.nodes, order)
        root = np.sqrt(basis.node_weights)[:, None]
        on_grid = [_apply(op, at_grid) for op in operators]
        on_nodes = [_apply(op, root * at_nodes) for op in operators]
        distinct = [i for i, op in enumerate(operators) if op and op not in operators[:i]]
        if basis.kind == PolynomialBasis.kind:
            distinct = [2]  # derivatives of polynomials are polynomials
        self.rows, rows_on_nodes, self.fill = _row_space(
            [on_grid[i] for i in distinct], [on_nodes[i] for i in distinct]
        )
        interpolation = basis.interpolation(grid)
        if interpolation is not None:
            self.rows, rows_on_nodes = np.eye(len(grid)), root * interpolation

        self.left, self.right, self.value = (self.rows.T @ m for m in on_grid[:3])
        self.mixed = {k: self.rows.T @ m for k, m in zip(mixed_orders, on_grid[3:], strict=True)}
        self.boundary = np.array([self._boundary_row(c) for c in conditions])
        self.boundary = self.boundary.reshape(len(conditions), basis.rank)
        q, triangle = np.linalg.qr(self.boundary.T, mode="complete")
        self.rotation, self.boundary_factor = q, triangle[: len(conditions)].T

        free = q[:, len(conditions) :]
        # Conditions at both ends: test functions like the trial ones, which keeps elliptic
        # problems symmetric. All at one end, as in time: the range of the operator, or
        # the error would grow from there.
        ends = {c.end for c in conditions}
        highest = 0 if max(left, default=0) >= max(right, default=0) else 1
        tested = on_nodes[2] if ends != {0} and ends != {1} else on_nodes[highest]
        test, _ = np.linalg.qr(tested @ free)
        self.test, self.quadrature = rows_on_nodes.T @ test, (basis.nodes, root * test)
        self.pencil = test.T @ on_nodes[0] @ free, test.T @ on_nodes[1] @ free
        self.fit = np.asarray(np.linalg.pinv(self.value, rcond=1e-15), dtype=np.float64)

    @property
    def lift(self) -> Array:
        return self.rows

    @property
    def n_conditions(self) -> int:
        return len(self.conditions)

    def reweight(self, weights: Sequence[float]) -> None:
        """Give the prior of the basis other weights, one for each component."""
        self.basis = self.basis.reweighted(weights)

    def _boundary_row(self, condition: Condition) -> Array:
        end = (self.basis.lower, self.basis.upper)[condition.end]
        value, slope = self.basis.evaluate(np.array([end]), 1)[:, 0]
        return condition.alpha * value + condition.beta * (2 * condition.end - 1) * slope


def _row_space(on_grid: Sequence[Array], on_nodes: Sequence[Array]) -> tuple[Array, Array, float]:
    """Orthonormal functions on the grid that span all columns, and the same on the nodes.

    Also the share of the grid's dimension that they take up.
    """
    norms = [np.linalg.norm(columns) for columns in on_grid]
    stack = np.hstack([columns / n for columns, n in zip(on_grid, norms, strict=True)])
    u, s, vt = np.linalg.svd(stack, full_matrices=False)
    kept = s > _ROW_TOLERANCE * s[0]
    stack = np.hstack([columns / n for columns, n in zip(on_nodes, norms, strict=True)])
    return u[:, kept], stack @ (vt[kept].T / s[kept]), kept.sum() / len(u)


def _apply(operator: AxisOperator, derivatives: Array) -> Array:
    """``Σ coefficient dᵏq`` from q and its derivatives."""
    return sum((c * derivatives[k] for k, c in operator.items()), np.zeros(derivatives.shape[1:]))
