"""Laplace's approximation for class labels: the posterior's mode, its curvature, the evidence.

Everything is float64 and dense, O(c n³) a Newton step for c latent functions. The matrix that
is factorised, ``I + W^½ K W^½``, has no eigenvalue below 1, whatever K is; so K itself is never
inverted and needs no jitter.

References
----------
Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006: algorithms 3.1 to 3.4
and 5.1. With more than two classes the evidence of algorithm 3.3 lacks the term
``log|Σ E_c|``, which is in ours; its gradient, which the book does not have, follows 5.1.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernelgp.errors import ConvergenceWarning, NotPositiveDefiniteError
from kernelgp.gp.curvature import Curvature, DiagonalCurvature, SoftmaxCurvature
from kernelgp.gp.inducing import row_blocks
from kernelgp.gp.labels import LabeledRows
from kernelgp.operators import KernelOperator

__all__ = ["LaplaceFit", "LaplacePosterior", "find_mode", "laplace_evidence"]

_MAX_ITERATIONS = 100
# Of the residual, that is of the dual coefficients, which lie between -1 and 1 for weight 1.
_TOLERANCE = 1e-11
_SLOW = 1e-2
# Relative rounding of the objective.
_FLAT = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class LaplaceFit:
    """The mode of the latent functions given labels, and what is known around it.

    Attributes
    ----------
    dual : Tensor, shape (n, c)
        ``K⁻¹ (mode - offset)``: the gradient of the log-likelihood at the mode.
    latent : Tensor, shape (n, c)
        The mode.
    curvature
        Minus the second derivatives of the log-likelihood there, factorised.
    evidence : Tensor, shape ()
        Laplace's approximation of the log marginal likelihood.
    iterations
        Newton steps.
    """

    dual: Tensor
    latent: Tensor
    curvature: Curvature
    evidence: Tensor
    iterations: int


@torch.no_grad()
def find_mode(
    covariance: Tensor, data: LabeledRows, offset: Tensor, start: Tensor | None = None
) -> LaplaceFit:
    """Newton's method for the mode, halving steps that do not climb.

    Parameters
    ----------
    covariance : Tensor, shape (n, n), float64
        Of every latent function.
    data
        In float64; its points are not looked at.
    offset : Tensor, shape (c,)
        Prior mean of the latent functions.
    start : Tensor, shape (n, c), optional
        A first guess of `dual`; zero if there is none.

    Warns
    -----
    ConvergenceWarning
        If 100 steps did not suffice.
    """
    labels, weights, likelihood = data.labels, data.weights, data.likelihood
    curvature_of = DiagonalCurvature if likelihood.n_latents == 1 else SoftmaxCurvature

    def objective(dual: Tensor, centred: Tensor) -> Tensor:
        fit = (weights * likelihood.log_probability(centred + offset, labels)).sum()
        return fit - 0.5 * (dual * centred).sum()

    dual = covariance.new_zeros(len(labels), likelihood.n_latents)
    centred = dual
    best = objective(dual, centred)
    if start is not None and (value := objective(start, covariance @ start)) > best:
        dual, centred, best = start, covariance @ start, value
    # A Newton step solves for the residual, so that a rough factor costs digits of the step,
    # not of the answer.
    precisions = [torch.float32, torch.float64]
    goal = _TOLERANCE * weights.max().item()
    iterations, change, before = 0, torch.inf, torch.inf
    while True:
        latent = centred + offset
        residual = weights.unsqueeze(-1) * likelihood.gradient(latent, labels) - dual
        size = residual.abs().max().item()
        flat = change <= _FLAT * (1 + abs(best.item()))
        # Where rounding keeps the residual up, the objective has long been flat.
        if size <= goal or (flat and size > before / 2):
            break
        if iterations == _MAX_ITERATIONS:
            _warn_of(size, best.item())
            break
        if size > 0.2 * before and size < _SLOW * weights.max().item():
            precisions = [torch.float64]  # near the top a rough factor makes Newton's steps slow
        before = size
        step = _newton_step(curvature_of, precisions, covariance, latent, weights, residual)
        along = covariance @ step
        share, moved = 1.0, objective(dual + step, centred + along)
        while not moved >= best - _FLAT * (1 + best.abs()) and share > 1e-6:
            share *= 0.5
            moved = objective(dual + share * step, centred + share * along)
        if share < 0.01 and len(precisions) > 1:
            precisions = [torch.float64]  # so short a step may be one in no good direction
            continue
        dual, centred = dual + share * step, centred + share * along
        best, change = moved, abs((moved - best).item())
        iterations += 1
    curvature = curvature_of(covariance, centred + offset, weights)
    return LaplaceFit(
        dual, centred + offset, curvature, best - 0.5 * curvature.logdet(), iterations
    )


def _warn_of(residual: float, objective: float) -> None:
    warnings.warn(
        f"Newton's method for the mode: a residual of {residual:.1e} is left after "
        f"{_MAX_ITERATIONS} steps (objective {objective:.6g}); give the kernel a smaller scale.",
        ConvergenceWarning,
        stacklevel=3,
    )


def _newton_step(
    curvature_of: type[Curvature],
    precisions: list[torch.dtype],
    covariance: Tensor,
    latent: Tensor,
    weights: Tensor,
    residual: Tensor,
) -> Tensor:
    """``(I + W K)⁻¹ residual`` in the first precision that can factorise it."""
    for dtype in precisions[:-1]:
        try:
            curvature = curvature_of(covariance.to(dtype), latent.to(dtype), weights.to(dtype))
            return curvature.solve(residual.to(dtype)).double()
        except NotPositiveDefiniteError:
            continue
    return curvature_of(covariance, latent, weights).solve(residual)


def laplace_evidence(
    covariance: Tensor, data: LabeledRows, offset: Tensor, start: Tensor | None = None
) -> tuple[Tensor, LaplaceFit]:
    """The evidence with a graph to `covariance` and `offset`, and the fit it comes from."""
    fit = find_mode(covariance.detach(), data, offset.detach(), start)
    return _Evidence.apply(covariance, offset, fit), fit  # pyright: ignore[reportReturnType]


class LaplacePosterior:
    """Latent functions at new points, given labels.

    Parameters
    ----------
    kernel : Kernel
    x : Tensor, shape (n, d)
        Where the labels were seen.
    dual, offset, weights
        As in `find_mode` and what it found.
    """

    def __init__(
        self, kernel: Any, x: Tensor, dual: Tensor, offset: Tensor, weights: Tensor
    ) -> None:
        self._kernel, self._x, self._dual, self._offset = kernel, x, dual, offset
        with torch.no_grad():
            covariance = KernelOperator(kernel, x).to_dense()
            latent = covariance @ dual + offset
            curvature_of = DiagonalCurvature if dual.shape[-1] == 1 else SoftmaxCurvature
            self._roots = curvature_of(covariance, latent, weights).roots()

    @torch.no_grad()
    def mean(self, x: Tensor) -> Tensor:
        """Latent means, shape (m, c), at `x` of shape (m, d)."""
        return KernelOperator(self._kernel, x, self._x).matmul(self._dual) + self._offset

    @torch.no_grad()
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means (m, c) and the covariance of the latent functions at each point, (m, c, c)."""
        parts = [self._block(x[rows]) for rows in row_blocks(len(x), len(self._x))]
        means, covariances = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(covariances)

    def _block(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cross = KernelOperator(self._kernel, x, self._x).to_dense()
        left, shared = self._roots
        explained = torch.stack([(cross @ root).square().sum(dim=-1) for root in left], dim=-1)
        prior = KernelOperator(self._kernel, x).diagonal().to(x).unsqueeze(-1)
        # Below zero it is rounding: a posterior variance as small as that of the difference.
        covariance = (prior - explained).clamp(min=0.0).diag_embed()
        if shared is not None:
            halves = torch.stack([cross @ root for root in shared], dim=-2)
            covariance = covariance + halves @ halves.mT
        return cross @ self._dual + self._offset, covariance


class _Evidence(torch.autograd.Function):
    """``log q(y)``, differentiated through the mode as well.

    With g the dual, S the curvature's `inverse` ``(K + W⁻¹)⁻¹`` and s the derivative of the
    evidence by the mode, the derivative by the covariance of one latent function is
    ``½ g gᵀ - ½ S + u gᵀ``, ``u = (I - S K) s``; by its offset it is ``Σ g + Σ u``.
    """

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, _offset: Tensor, fit: LaplaceFit) -> Tensor:
        ctx.fit = fit
        ctx.save_for_backward(covariance)
        return fit.evidence.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (covariance,) = ctx.saved_tensors
        fit: LaplaceFit = ctx.fit
        inverse, by_mode = fit.curvature.inverse_and_slope()
        implicit = by_mode - fit.curvature.apply(covariance @ by_mode)
        left = 0.5 * fit.dual + implicit
        outer = left @ fit.dual.mT
        # Symmetric, as the covariance is: whoever reads one triangle reads the right number.
        by_covariance = (outer + outer.mT).mul_(0.5).sub_(inverse, alpha=0.5)
        return grad * by_covariance, grad * (fit.dual + implicit).sum(dim=0), None
