"""One slab's equations on coefficients, and the neighbour that preconditions them.

The unknowns of each function are coefficients ``C_ij q_i(x) p_j(t)``. With the coefficients that
vary, and the slopes of nonlinear terms, frozen in time, what is left is a sum of two products,
``M ⊗ ∂_tˡ + K ⊗ 1``, with x-dependent coefficients in M and K. A generalised Schur form of the
small time pencil makes that one linear system in x for each function of time. In a slab in which
little changes it is a good preconditioner, however strong an advection is.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.slabs.axes import Side, SpaceAxis, TimeAxis
from solvers.slabs.layout import Equations, Layout, Slopes

__all__ = ["FrozenNeighbour", "SlabSystem"]

Array = NDArray[np.float64]

# Of a residual, so that its square is a number.
_LARGEST = 1e100


class SlabSystem:
    """The equations of a slab on its two axes.

    Parameters
    ----------
    layout : Layout
    space : SpaceAxis
    sides : sequence of Side
        Of each function along x.
    time : TimeAxis

    Attributes
    ----------
    shape : (int, int)
        Of the unknowns inside: free functions of x, those of all functions one after the other,
        times those of t.
    """

    def __init__(
        self, layout: Layout, space: SpaceAxis, sides: Sequence[Side], time: TimeAxis
    ) -> None:
        self.layout, self.space, self.sides, self.time = layout, space, tuple(sides), time
        self.equations = Equations(layout, space.nodes, time.nodes)
        self._space_rows = [[rows @ side.free for rows in space.rows] for side in sides]
        self._time_rows = [rows @ time.side.free for rows in time.rows]
        # The test functions of an equation are the trial ones of the function it evolves.
        self._tests = [(space.weights[:, None] * self._space_rows[f][0]).T for f in layout.paired]
        stops = np.cumsum([0, *(side.free.shape[1] for side in sides)])
        self._blocks = [slice(a, b) for a, b in pairwise(stops)]
        # Rows of the unknowns belong to functions, rows of the residual to equations.
        sizes = np.cumsum([0, *(len(test) for test in self._tests)])
        self._rows = [slice(a, b) for a, b in pairwise(sizes)]
        self.shape = int(stops[-1]), time.side.free.shape[1]
        self.is_linear = not any(layout.problem.nonlinears)

    def expand(self, inside: Array) -> Array:
        """Coefficients of all functions, zero on sides and start: shape (m, r, rt, ...)."""
        z = self.time.side.free
        return np.stack(
            [
                np.einsum("ri,ij...,tj->rt...", side.free, inside[b], z, optimize=True)
                for side, b in zip(self.sides, self._blocks, strict=True)
            ]
        )

    def inside(self, coefficients: Array) -> Array:
        """The unknowns of coefficients, without what sides and start hold."""
        z = self.time.side.free
        return np.vstack([s.free.T @ c @ z for s, c in zip(self.sides, coefficients, strict=True)])

    def left_over(self, C: Array) -> list[Array]:
        """Source minus left side of every equation at the nodes."""
        return self.equations.left_over(lambda *d: self._values(C, *d))[0]

    def residual(self, C: Array) -> Array:
        """The same against the test functions; infinite where it is not sensible."""
        with np.errstate(all="ignore"):
            left_over = self.left_over(C)
        # Too long a step may leave what an equation is defined for.
        sensible = all(np.abs(r).max() < _LARGEST for r in left_over)
        return self.project(left_over) if sensible else np.full(self.shape, np.inf)

    def project(self, at_nodes: Sequence[Array]) -> Array:
        """Products with the test functions of values at the nodes, shape (n, nt, ...)."""
        return np.vstack(
            [
                np.einsum("in,nt...,jt->ij...", test, values, self.time.project, optimize=True)
                for test, values in zip(self._tests, at_nodes, strict=True)
            ]
        )

    def slopes(self, C: Array) -> Slopes:
        return self.equations.slopes(lambda *d: self._values(C, *d))

    def apply(self, slopes: Slopes, inside: Array) -> Array:
        """The linearised equations of unknowns inside, projected."""
        found: dict[tuple[int, int, int], Array] = {}
        at_nodes = []
        for terms in slopes:
            total = np.zeros((len(self.space.nodes), len(self.time.nodes)))
            for f, kx, kt, c in terms:
                if (f, kx, kt) not in found:
                    half = inside[self._blocks[f]] @ self._time_rows[kt].T
                    found[f, kx, kt] = self._space_rows[f][kx] @ half
                total += c * found[f, kx, kt]
            at_nodes.append(total)
        return self.project(at_nodes)

    def apply_all(self, slopes: Slopes, C: Array) -> Array:
        """The linearised equations of coefficients, projected: with a trailing batch."""
        at_nodes = []
        for terms in slopes:
            total = np.zeros((len(self.space.nodes), len(self.time.nodes), *C.shape[3:]))
            for f, kx, kt, c in terms:
                rows = self.space.rows[kx], self.time.rows[kt]
                values = np.einsum("xr,rt...,yt->xy...", rows[0], C[f], rows[1], optimize=True)
                scale = c if np.ndim(c) == 0 else np.reshape(c, (*np.shape(c), *[1] * (C.ndim - 3)))
                total += scale * values
            at_nodes.append(total)
        return self.project(at_nodes)

    def frozen(self, slopes: Slopes) -> "FrozenNeighbour":
        """The neighbour whose coefficients are the means over time."""
        n, order = self.shape[0], self.layout.order
        matrices = {0: np.zeros((n, n)), order: np.zeros((n, n))}
        weights = self.time.weights / self.time.weights.sum()
        for e, terms in enumerate(slopes):
            profiles: dict[tuple[int, int, int], Any] = {}
            for f, kx, kt, c in terms:
                if kt in matrices:
                    mean = c if np.ndim(c) == 0 else np.asarray(c) @ weights
                    profiles[f, kx, kt] = profiles.get((f, kx, kt), 0.0) + mean
            for (f, kx, kt), profile in profiles.items():
                scaled = np.reshape(profile, (-1, 1)) * self._space_rows[f][kx]
                matrices[kt][self._rows[e], self._blocks[f]] += self._tests[e] @ scaled
        pencil = [self.time.project @ self._time_rows[k] for k in (order, 0)]
        return FrozenNeighbour(matrices[order], matrices[0], pencil[0], pencil[1])

    def _values(self, C: Array, function: int, kx: int, kt: int) -> Array:
        return self.space.rows[kx] @ C[function] @ self.time.rows[kt].T


class FrozenNeighbour:
    """The inverse of ``C ↦ M C Aᵀ + K C Bᵀ``.

    Parameters
    ----------
    M, K : ndarrays, shape (n, n)
    A, B : ndarrays, shape (k, k), k small
    """

    def __init__(self, M: Array, K: Array, A: Array, B: Array) -> None:
        # scipy's annotations list every combination of its switches at once.
        qz: Any = scipy.linalg.qz(A, B, output="complex")
        self._S, self._T, self._Q, self._Z = qz
        self._M, self._K = M, K
        self._factors = [
            scipy.linalg.lu_factor(self._S[j, j] * M + self._T[j, j] * K, check_finite=False)
            for j in range(len(A))
        ]

    def solve(self, rhs: Array) -> Array:
        """C, shape (n, k) or (n, k, samples)."""
        k = rhs.shape[1]
        rotated = np.einsum("nk...,kj->nj...", rhs, self._Q.conj(), optimize=True)
        found = np.zeros(rotated.shape, complex)
        for j in reversed(range(k)):
            right = rotated[:, j]
            if j + 1 < k:
                later = found[:, j + 1 :]
                right = right - self._M @ np.einsum("nk...,k->n...", later, self._S[j, j + 1 :])
                right = right - self._K @ np.einsum("nk...,k->n...", later, self._T[j, j + 1 :])
            found[:, j] = scipy.linalg.lu_solve(self._factors[j], right, check_finite=False)
        back = np.einsum("nk...,jk->nj...", found, self._Z, optimize=True)
        return np.ascontiguousarray(back.real)
