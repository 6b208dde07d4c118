"""Exact inference where a Cholesky factor is too dear: conjugate gradients and Lanczos quadrature.

Products are tiles of float32 unless float64 is asked for, vectors are float64, residuals are
measured. The probes are the same at every evaluation, so the evidence is a smooth function.
"""

import warnings
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp import linalg
from kernelgp.errors import ConvergenceWarning
from kernelgp.gp.covariance import (
    Evidence,
    Factor,
    TrainingCovariance,
    generalised_least_squares,
    operator,
)
from kernelgp.gp.dense import DenseFactor
from kernelgp.linalg.cholesky import factorise
from kernelgp.operators import NoisyKernelOperator
from kernelgp.operators.sharded import share_out

__all__ = ["IterativeCovariance", "IterativeFactor"]

_LOGDET_RTOL = 1e-3
_MEAN_RTOL = 1e-6
# Of the noise: how far off a variance may be, by a bound that is some 50 times too large
# (measured at n = 5 000, RBF, d = 4).
_VARIANCE_ERROR = 1e-3
# Up to here variances come from a Cholesky factor all the same: one of 10 000 rows takes as long
# as some 300 columns by iteration, and serves every later one. 2 GB in float64.
_LARGEST_FACTOR = 16_000
_PROBES = 10


class IterativeFactor(Factor):
    """``A = K + noise``, solved by preconditioned conjugate gradients."""

    def __init__(self, op: NoisyKernelOperator) -> None:
        self.op: Any = op.detach()
        self.rows, self.device = op.shape[-1], op.device
        self.preconditioner = linalg.pivoted_cholesky_preconditioner(self.op)

    @cached_property
    def _exact(self) -> DenseFactor | None:
        """A Cholesky factor, once variances are asked for; None where it would be too large."""
        if self.rows > _LARGEST_FACTOR:
            return None
        matrix = self.op.double().to_dense().detach()
        return DenseFactor(factorise(matrix, self.op.dtype))

    @override
    def solve(self, rhs: Tensor, rtol: float = _MEAN_RTOL) -> Tensor:
        solution, report = linalg.solve(
            self.op, rhs.to(self.op.dtype), rtol=rtol, preconditioner=self.preconditioner
        )
        self.iterations, self.residual = report.iterations, report.residual.max().item()
        return solution

    @override
    def logdet(self) -> Tensor:
        value, _error = linalg.logdet(self.op)
        return value

    @override
    def reduction(self, cross: Tensor) -> Tensor:
        if self._exact is not None:
            return self._exact.reduction(cross)
        # With x near A⁻¹ c and ρ = c - A x: cᵀA⁻¹c = xᵀ(c + ρ) + ρᵀA⁻¹ρ, and the last term is
        # not negative, and at most |ρ|² over the least noise.
        noise = self.op.noise.min().item()
        longest = cross.norm(dim=0).max().item()
        rtol = _VARIANCE_ERROR**0.5 * noise / longest if longest > 0 else 1.0
        solution = self.solve(cross, min(max(rtol, 1e-5), 1e-2))
        product = self.op.matmul(solution.to(self.op.dtype)).double()
        return (solution * (2 * cross - product)).sum(dim=0)

    @override
    def joint_reduction(self, cross: Tensor) -> Tensor:
        if self._exact is not None:
            return self._exact.joint_reduction(cross)
        both = cross.mT @ self.solve(cross)
        return (both + both.mT) / 2

    @override
    def inverse_diagonal(self) -> Tensor:
        return super().inverse_diagonal() if self._exact is None else self._exact.inverse_diagonal()


class IterativeCovariance(TrainingCovariance):
    """The covariance at some points, never formed.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Its dtype is that of the tiles.
    unit
        What the kernel is divided by.
    seed
        Of the probes.
    distributed
        Whether the processes of the default group share the products.
    """

    method: ClassVar[str] = "iterative"

    def __init__(
        self, x: Tensor, unit: float = 1.0, seed: int = 0, *, distributed: bool = False
    ) -> None:
        self.x, self.unit, self.seed, self.distributed = x, unit, seed, distributed

    def _operator(self, kernel: Any, noise: Tensor) -> NoisyKernelOperator:
        base = operator(kernel, self.x, None, 1 / self.unit)
        if self.distributed:
            base = share_out(base)
        return NoisyKernelOperator(base, noise.to(self.x))

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        op = self._operator(kernel, noise)
        quad, logdet, coefficients, error = _IterativeEvidence.apply(
            op, self.seed, y, basis, *op.representation()
        )
        self.standard_error = error.item() / 2  # the evidence has half the determinant
        return Evidence(quad, logdet, coefficients)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> IterativeFactor:
        with torch.no_grad():
            return IterativeFactor(self._operator(kernel, noise))


class _IterativeEvidence(torch.autograd.Function):
    """``rᵀ A⁻¹ r`` and an estimate of ``log|A|``; ``A⁻¹`` is the mean of ``u vᵀ`` over probes."""

    @staticmethod
    def forward(
        ctx: Any,
        op: NoisyKernelOperator,
        seed: int,
        y: Tensor,
        basis: Tensor,
        *representation: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        columns = torch.cat([y, basis], dim=-1).to(op.dtype)
        with warnings.catch_warnings():
            # On the way a bad residual is no news; the factor at the end tells.
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = linalg.inv_quad_logdet(
                op.detach(),
                columns,
                n_probes=_PROBES,
                rtol=_LOGDET_RTOL,
                method="pcg",
                generator=seed,
            )
        k = y.shape[-1]
        solved = found.solution
        coefficients = generalised_least_squares(solved[:, :k], solved[:, k:], y, basis)
        alpha = solved[:, :k] - solved[:, k:] @ coefficients
        quad = ((y - basis @ coefficients) * alpha).sum(dim=0)
        ctx.op = op
        ctx.save_for_backward(alpha, found.probe_solutions, found.probes, *representation)
        ctx.mark_non_differentiable(coefficients, found.standard_error)
        return quad, found.logdet, coefficients, found.standard_error

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, quad_grad: Tensor, logdet_grad: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        alpha, left, right, *_unused = ctx.saved_tensors
        left = left * (logdet_grad / left.shape[-1])
        # Half of each order, for the estimate alone is not symmetric.
        first = torch.cat([-alpha * quad_grad, left / 2, right / 2], dim=-1)
        second = torch.cat([alpha, right, left], dim=-1)
        op = ctx.op
        grads = op._bilinear_derivative(first.to(op.dtype), second.to(op.dtype))
        return None, None, None, None, *grads
