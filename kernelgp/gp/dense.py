"""Exact inference by one Cholesky factor, in float64.

One evaluation of the evidence with its gradient at n = 2 000 and d = 8 is one pass of tiles that
fills the matrix (0.02 s on one core), ``potrf`` and ``potri`` (0.15 and 0.24 s) and one pass of
tiles that contracts the inverse with the slopes (0.06 s): no matrix of derivatives is formed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.gp.covariance import (
    Evidence,
    Factor,
    TrainingCovariance,
    generalised_least_squares,
    operator,
)
from kernelgp.linalg.cholesky import CholeskyFactor, factorise, lower_inverse
from kernelgp.linalg.probes import row_normals

__all__ = ["LARGEST_EXACT_GRADIENT", "DenseCovariance", "DenseFactor", "dense_evidence"]

# Beyond, the slope of the determinant is estimated: inverting takes twice what factorising does.
LARGEST_EXACT_GRADIENT = 6000
# Of the estimate. Its error in every direction is then an eighth of the standard error that the
# hyperparameters themselves have: for ten of them, a loss of 0.1 in the log evidence.
_PROBES = 64


class DenseFactor(Factor):
    """``A + jitter I = L Lᵀ``."""

    def __init__(self, found: CholeskyFactor) -> None:
        self.found, self.root, self.jitter = found, found.factor, found.jitter
        self.rows, self.device = len(self.root), self.root.device

    @override
    def solve(self, rhs: Tensor) -> Tensor:
        return torch.cholesky_solve(rhs, self.root)

    @override
    def logdet(self) -> Tensor:
        return self.found.logdet()

    def whiten(self, cross: Tensor) -> Tensor:
        """``L⁻¹ C``."""
        return torch.linalg.solve_triangular(self.root, cross, upper=False)

    @override
    def reduction(self, cross: Tensor) -> Tensor:
        return self.whiten(cross).square().sum(dim=0)

    @override
    def joint_reduction(self, cross: Tensor) -> Tensor:
        white = self.whiten(cross)
        return white.mT @ white

    @override
    def inverse_diagonal(self) -> Tensor:
        return lower_inverse(self.root).diagonal().clone()

    def extended(self, cross: Tensor, corner: Tensor) -> "DenseFactor":
        """The factor with more rows: `cross` (n, m) beside the old ones, `corner` (m, m)."""
        white = self.whiten(cross)
        below = factorise(corner - white.mT @ white, torch.float64)
        n, m = cross.shape
        root = self.root.new_zeros(n + m, n + m)
        root[:n, :n], root[n:, :n], root[n:, n:] = self.root, white.mT, below.factor
        jitter = max(self.jitter, below.jitter)
        smallest = below.smallest_eigenvalue if below.jitter else self.found.smallest_eigenvalue
        return DenseFactor(CholeskyFactor(root, jitter, smallest))


class DenseCovariance(TrainingCovariance):
    """The covariance at some points, formed.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    unit
        What the kernel is divided by.
    seed
        Of the probes that estimate the slopes of the evidence of more than 6 000 rows.

    Raises
    ------
    MemoryError
        From its methods, with the number of rows that would fit.
    """

    method: ClassVar[str] = "cholesky"

    def __init__(self, x: Tensor, unit: float = 1.0, seed: int = 0) -> None:
        self.x, self.unit, self.seed = x.double(), unit, seed

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        seed = self.seed if len(self.x) > LARGEST_EXACT_GRADIENT else None
        with room(len(self.x), self.x.device):
            return dense_evidence(self._matrix(kernel), noise, y, basis, seed)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> DenseFactor:
        with torch.no_grad(), room(len(self.x), self.x.device):
            matrix = self._matrix(kernel)
            matrix.diagonal().add_(noise.to(matrix))
            return DenseFactor(factorise(matrix, torch.float64))

    def _matrix(self, kernel: Any) -> Tensor:
        return operator(kernel, self.x, None, 1 / self.unit).to_dense()


def dense_evidence(
    matrix: Tensor, noise: Tensor, y: Tensor, basis: Tensor, seed: int | None = None
) -> Evidence:
    """The evidence of ``matrix + diag(noise)``, differentiable in both.

    Parameters
    ----------
    matrix : Tensor, shape (n, n), float64, symmetric
        Overwritten: it belongs to the call.
    noise : Tensor, shape () or (n,)
    y : Tensor, shape (n, k)
    basis : Tensor, shape (n, p)
    seed
        Of random probes, by which the slopes of the determinant are estimated; None to have
        them exactly.

    Raises
    ------
    NotPositiveDefiniteError
        If a jitter of 1e-6 of the diagonal does not make it so.
    """
    quad, logdet, coefficients = _DenseEvidence.apply(matrix, noise.to(matrix), y, basis, seed)
    return Evidence(quad, logdet, coefficients)


class _DenseEvidence(torch.autograd.Function):
    """``rᵀ A⁻¹ r`` and ``log|A|``: by A they have the gradients ``-α αᵀ`` and ``A⁻¹``.

    By probes ``A⁻¹`` is the mean of ``u uᵀ`` with ``u = L⁻ᵀ ε``.
    """

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, noise: Tensor, y: Tensor, basis: Tensor, seed: int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        full = matrix.detach()
        full.diagonal().add_(noise)
        root = factorise(full, torch.float64).factor
        k = y.shape[-1]
        solved = torch.cholesky_solve(torch.cat([y, basis], dim=-1), root)
        coefficients = generalised_least_squares(solved[:, :k], solved[:, k:], y, basis)
        alpha = solved[:, :k] - solved[:, k:] @ coefficients
        quad = ((y - basis @ coefficients) * alpha).sum(dim=0)
        ctx.save_for_backward(root, alpha)
        ctx.noise_shape, ctx.seed = noise.shape, seed
        ctx.mark_non_differentiable(coefficients)
        return quad, 2 * root.diagonal().log().sum(), coefficients

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, quad_grad: Tensor, logdet_grad: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        root, alpha = ctx.saved_tensors
        with room(len(root), root.device):
            weights = _slopes(root, alpha, quad_grad, logdet_grad, ctx.seed)
        by_noise = weights.diagonal().sum_to_size(ctx.noise_shape)
        return weights, by_noise, None, None, None


def _slopes(
    root: Tensor, alpha: Tensor, quad_grad: Tensor, logdet_grad: Tensor, seed: int | None
) -> Tensor:
    """``logdet_grad A⁻¹ - α diag(quad_grad) αᵀ``, in one triangle or in both."""
    if seed is None:
        # One triangle, doubled, is as good as both.
        weights = lower_inverse(root).tril_()
        diagonal = weights.diagonal().clone()
        weights.mul_(2 * logdet_grad).diagonal().copy_(diagonal * logdet_grad)
    else:
        rows = torch.arange(len(root), device=root.device)
        normals = row_normals(rows, _PROBES, seed).to(root)
        probes = torch.linalg.solve_triangular(root.mT, normals, upper=True)
        weights = (probes * (logdet_grad / _PROBES)) @ probes.mT
    return weights.addmm_(alpha * quad_grad, alpha.mT, alpha=-1.0)


@contextmanager
def room(n: int, device: torch.device) -> Iterator[None]:
    """Where memory runs out, an error that says how many rows would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(n, device) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is one of memory; torch's own on a CPU is a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "alloc" in str(error).lower()


def too_large(n: int, device: torch.device) -> MemoryError:
    """What to tell where n rows do not fit: how many would."""
    needed = 4 * 8 * n**2 / 2**30
    advice = 'fit fewer rows, or use method="iterative", which needs O(n)'
    if device.type == "cpu":
        free = _free_bytes()
        if free is not None:
            rows = int((free / 32) ** 0.5)
            advice = f"about {rows} rows fit the {free / 2**30:.1f} GiB free; {advice}"
    return MemoryError(
        f"the covariance of {n} rows on {device} needs some {needed:.1f} GiB in float64; {advice}."
    )


def _free_bytes() -> int | None:
    """Bytes of memory that are free, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    return 1024 * int(found[0]) if found else None
