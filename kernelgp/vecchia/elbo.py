"""The evidence lower bound of the double-KL posterior, term by term, in torch.

With a prior ``N(H b, (U Uᵀ)⁻¹)`` and ``q = N(ν, (V Vᵀ)⁻¹)`` of one pattern it is a sum over points,

    ``E log p(y_i | f_i) - (U_iᵀ (ν - H b))² / 2 - |V⁻¹ U_i|² / 2 + log U_ii - log V_ii + 1 / 2``,

and a term needs V on the ancestors of its point alone, so that a few points give an unbiased
gradient. With all ancestors the sum is the bound; with reduced sets it is near it.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, sections 3.2 and 3.3.
"""

import copy
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.vecchia.ancestors import reduced_ancestors
from kernelgp.vecchia.columns import batched_columns
from kernelgp.vecchia.latent import Observed
from kernelgp.vecchia.likelihoods import Likelihood

__all__ = ["DoubleKL", "ancestor_sets"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_JITTER = 1e-8
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_STEP = 1e-5


class DoubleKL(nn.Module):
    """The bound, with all that it is a function of as parameters.

    Parameters
    ----------
    kernel : kernel of `kernelgp.kernels` or gpytorch
        Copied.
    likelihood : Likelihood
        Evaluated on the CPU, wherever the rest lives.
    points : (n, d), neighbors : (n, m), observed : Observed, H : (n, q)
        In one order.
    ancestors : (n, a) int64
        As `ancestor_sets` gives them.
    mean : (n,), factor : (n, m + 1)
        ν and V to begin with.
    coefficients : (q,)
        b to begin with.
    diagonal
        Whether V stays diagonal: the mean field.
    """

    def __init__(
        self,
        kernel: Any,
        likelihood: Likelihood,
        points: Array,
        neighbors: Index,
        observed: Observed,
        H: Array,
        ancestors: Index,
        mean: Array,
        factor: Array,
        coefficients: Array,
        *,
        diagonal: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.likelihood, self.observed = likelihood, observed
        self.neighbors, self.ancestors = neighbors, ancestors
        self.kernel = copy.deepcopy(kernel).double()
        self.free = nn.Parameter(torch.from_numpy(likelihood.free.copy()))
        self.coefficients = nn.Parameter(torch.from_numpy(coefficients.copy()))
        # In units in which a step of one size is sensible for all: each point's standard deviation
        # given those after it, and weights relative to the diagonal.
        self.shift = nn.Parameter(torch.zeros(len(mean), dtype=torch.float64))
        self.log_diagonal = nn.Parameter(torch.from_numpy(np.log(factor[:, -1])))
        weights = torch.from_numpy(np.where(neighbors >= 0, factor[:, :-1], 0.0) / factor[:, -1:])
        # A diagonal V has nothing above to learn.
        self.weights = nn.Parameter(torch.zeros_like(weights) if diagonal else weights)
        self.weights.requires_grad_(not diagonal)
        self.register_buffer("start", torch.from_numpy(mean.copy()))
        self.register_buffer("unit", torch.from_numpy(1 / factor[:, -1]))
        self.start: Tensor
        self.unit: Tensor
        self.register_buffer("points", torch.from_numpy(points))
        self.register_buffer("H", torch.from_numpy(H))
        self.points: Tensor
        self.H: Tensor
        self._by_site = np.argsort(observed.site, kind="stable")
        counts = np.bincount(observed.site, minlength=len(points))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.to(device)

    @property
    def mean(self) -> Tensor:
        """ν, shape (n,)."""
        return self.start + self.unit * self.shift

    @property
    def factor(self) -> Array:
        """V, in the layout of `kernelgp.vecchia.sparse`."""
        diagonal = self.log_diagonal.exp().unsqueeze(1)
        return torch.cat([self.weights * diagonal, diagonal], dim=1).detach().cpu().numpy()

    def terms(self, rows: Index) -> Tensor:
        """The sum of the terms of these points; with a graph."""
        device, m, nu = self.shift.device, self.neighbors.shape[1], self.mean
        near, sets = self.neighbors[rows], self.ancestors[rows]
        members = np.hstack([near, rows[:, None]])
        U, _ = batched_columns(self.kernel, self.points, members, _JITTER)
        where = _places(self.neighbors, sets, rows, near)
        batch, row, column, owner, at, position = (torch.from_numpy(w).to(device) for w in where)
        size = sets.shape[1] + 1
        local = torch.from_numpy(np.hstack([sets, rows[:, None]])).to(device)
        diagonal = torch.where(local >= 0, self.log_diagonal[local.clamp(min=0)].exp(), 1.0)
        V = torch.diag_embed(diagonal)
        above = self.weights[owner, at] * self.log_diagonal[owner].exp()
        V = V.index_put((batch, row, column), above)
        rhs = V.new_zeros(len(rows), size, 2)
        rhs[:, -1, 1] = 1
        there = position >= 0
        which = torch.arange(len(rows), device=device).unsqueeze(1).expand(-1, m)[there]
        zeros = torch.zeros_like(which)
        rhs = rhs.index_put((which, position[there], zeros), U[:, :-1][there])
        every = torch.arange(len(rows), device=device)
        last, first = torch.full_like(every, size - 1), torch.zeros_like(every)
        rhs = rhs.index_put((every, last, first), U[:, -1])
        squares = torch.linalg.solve_triangular(V, rhs, upper=True).square().sum(dim=1)
        own = torch.from_numpy(rows).to(device)
        residual = nu - self.H @ self.coefficients
        white = U[:, -1] * residual[own]
        index = torch.from_numpy(near).to(device)
        white = white + (U[:, :-1] * torch.where(index >= 0, residual[index], 0.0)).sum(dim=1)
        terms = -0.5 * (white.square() + squares[:, 0]) + U[:, -1].log() + 0.5
        terms = terms - self.log_diagonal[own]
        return terms.sum() + self._expected(rows, nu, squares[:, 1].sqrt())

    def _expected(self, rows: Index, nu: Tensor, std: Tensor) -> Tensor:
        """``Σ E log p(y | f)`` over what is observed at these points."""
        counts = self._starts[rows + 1] - self._starts[rows]
        inside = np.repeat(np.arange(len(rows)), counts)
        offsets = np.arange(len(inside)) - np.repeat(np.cumsum(counts) - counts, counts)
        seen = self._by_site[np.repeat(self._starts[rows], counts) + offsets]
        place = torch.from_numpy(inside).to(std.device)
        own = torch.from_numpy(rows[inside]).to(std.device)
        o = self.observed
        given = Observed(o.y[seen], o.offset[seen], o.weights[seen], inside)
        return _Expected.apply(nu[own], std[place], self.free, self.likelihood, given)  # pyright: ignore[reportReturnType]


class _Expected(torch.autograd.Function):
    """``Σ w E log p(y | f + offset)`` for ``f ~ N(mean, std²)``, by quadrature.

    With nodes x and weights a: by the mean ``Σ a s(f)``, by the standard deviation
    ``Σ a x s(f)``, s the slope of the log density; by the likelihood's free numbers central
    differences, whose error is 1e-10.
    """

    @staticmethod
    @override
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, mean: Tensor, std: Tensor, free: Tensor, likelihood: Likelihood, seen: Observed
    ) -> Tensor:
        numbers = free.detach().cpu().numpy()
        now = likelihood.at(numbers) if len(numbers) else likelihood
        center, spread = (t.detach().cpu().numpy()[:, None] for t in (mean, std))
        f = center + spread * _NODES + seen.offset[:, None]
        flat, y = f.ravel(), np.repeat(seen.y, len(_NODES))

        def total(like: Likelihood) -> float:
            values = like.log_density(y, flat).reshape(f.shape)
            return float(seen.weights @ (values @ _WEIGHTS))

        slope = now.derivatives(y, flat)[0].reshape(f.shape) * seen.weights[:, None]
        by_free = np.empty(len(numbers))
        for k in range(len(numbers)):
            step = _STEP * np.eye(len(numbers))[k]
            up, down = (total(likelihood.at(numbers + s * step)) for s in (1, -1))
            by_free[k] = (up - down) / (2 * _STEP)
        slopes = slope @ _WEIGHTS, slope @ (_WEIGHTS * _NODES), by_free
        ctx.save_for_backward(*(torch.from_numpy(s).to(mean) for s in slopes))
        return mean.new_tensor(total(now))

    @staticmethod
    @once_differentiable
    @override
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        by_mean, by_std, by_free = ctx.saved_tensors
        return grad * by_mean, grad * by_std, grad * by_free, None, None


def ancestor_sets(points: Array, distances: Array, neighbors: Index, rho: float | None) -> Index:
    """For each point the ancestors that its term looks at, ascending, -1 first where fewer.

    Parameters
    ----------
    points : (n, d), distances : (n,)
        Scaled, in maximin order, and the distances of `maximin_order`.
    neighbors : (n, m)
        Ancestors of the first generation, which always belong.
    rho : float or None
        Of `reduced_ancestors`; None for all ancestors, with which the bound is exact.
    """
    n = len(neighbors)
    reduced = None if rho is None else reduced_ancestors(points, distances, rho)
    sets: list[Index] = []
    for j in range(n):
        own = neighbors[j][neighbors[j] >= 0]
        further = [sets[i] for i in own] if reduced is None else [reduced[j][reduced[j] >= 0]]
        sets.append(np.unique(np.concatenate([own, *further])))
    out = np.full((n, max(map(len, sets))), -1)
    for j, members in enumerate(sets):
        out[j, out.shape[1] - len(members) :] = members
    return out


@njit(cache=True)
def _places(neighbors, sets, rows, near):
    """Where the entries of V above its diagonal stand in the small matrices of some points.

    Returns
    -------
    batch, row, column : (e,), the place in the small matrices
    owner, at : (e,), the place in V: column of the factor, and which of its neighbors
    position : (b, m), of each point's neighbors in its own set, -1 for none
    """
    b, a = sets.shape
    m = neighbors.shape[1]
    where = np.full(len(neighbors), -1, np.int64)
    most = b * (a + 1) * m
    batch, row, column = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
    )
    owner, at = np.empty(most, np.int64), np.empty(most, np.int64)
    position = np.full((b, m), -1, np.int64)
    e = 0
    for q in range(b):
        for c in range(a):
            if sets[q, c] >= 0:
                where[sets[q, c]] = c
        for c in range(a + 1):
            j = sets[q, c] if c < a else rows[q]
            if j < 0:
                continue
            for k in range(m):
                i = neighbors[j, k]
                if i >= 0 and where[i] >= 0:
                    batch[e], row[e], column[e], owner[e], at[e] = q, where[i], c, j, k
                    e += 1
        for k in range(m):
            if near[q, k] >= 0:
                position[q, k] = where[near[q, k]]
        for c in range(a):
            if sets[q, c] >= 0:
                where[sets[q, c]] = -1
    return batch[:e], row[:e], column[:e], owner[:e], at[:e], position
