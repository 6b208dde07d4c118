"""The eigendecomposition of a Kronecker product, and what it makes cheap.

With ``K_i = Q_i Λ_i Q_iᵀ`` the matrix ``A = K1 ⊗ ... ⊗ Kd + σ² I`` is diagonal in the basis
``Q1 ⊗ ... ⊗ Qd``. So are its derivatives: the gradient of a solve or of a quadratic form in
K_i is one small matrix product of the coefficients, with no product of the whole grid.

References
----------
Y. Saatçi, *Scalable Inference for Structured Gaussian Process Models*, PhD thesis,
University of Cambridge 2011, chapter 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.operators.kronecker_algebra import (
    along_axes,
    contract,
    kronecker_matmul,
    kronecker_vector,
)

__all__ = ["Diagonalised", "SpectralInvQuadLogdet", "SpectralSolve", "Spectrum"]


_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """``(Q1 ⊗ ... ⊗ Qd) diag(λ1 ⊗ ... ⊗ λd + shift) (Q1 ⊗ ... ⊗ Qd)ᵀ``, without a graph.

    Nothing may differentiate through eigenvectors: their derivative is infinite where two
    eigenvalues meet, as they do for a periodic kernel.

    Attributes
    ----------
    values : tuple of Tensors, shape (..., n_i)
    vectors : tuple of Tensors, shape (..., n_i, n_i)
    shift : Tensor, shape (..., 1), or None for zero
    """

    values: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    shift: Tensor | None = None

    @classmethod
    def of(cls, matrices: Sequence[Tensor]) -> "Spectrum":
        """Of symmetric factors. The decomposition is computed in float64, then cast."""
        pairs = [torch.linalg.eigh(matrix.detach().double()) for matrix in matrices]
        dtype = matrices[0].dtype
        return cls(
            tuple(values.to(dtype) for values, _ in pairs),
            tuple(vectors.to(dtype) for _, vectors in pairs),
        )

    def shifted(self, shift: Tensor) -> "Spectrum":
        return Spectrum(self.values, self.vectors, shift.detach())

    @cached_property
    def diagonal(self) -> Tensor:
        """``λ1 ⊗ ... ⊗ λd + shift``, shape (..., N), in the order of the eigenvectors.

        Raises
        ------
        NotPositiveDefiniteError
            If one is zero or negative.
        """
        if self.shift is None:
            self._check_factors()
            return kronecker_vector(self.values)
        self._check_sum()
        *others, last = self.values
        head = kronecker_vector([last.new_ones(1), *others])
        shift = self.shift.unsqueeze(-1)
        return torch.addcmul(shift, head.unsqueeze(-1), last.unsqueeze(-2)).flatten(-2)

    def _check_factors(self) -> None:
        for i, values in enumerate(self.values):
            if not (values > 0).all():
                given = f"a smallest eigenvalue of {values.min().item():.1e}"
                remedy = "add jitter to this axis, or noise to the whole"
                raise NotPositiveDefiniteError(f"factors[{i}]", given, remedy)

    def _check_sum(self) -> None:
        # A product of numbers from intervals is smallest at some of their ends.
        ends = kronecker_vector([torch.stack(v.aminmax(dim=-1), dim=-1) for v in self.values])
        if self.shift is not None and not (ends + self.shift > 0).all():
            lowest = [(v.amin(dim=-1) / v.abs().amax(dim=-1)).min().item() for v in self.values]
            i = min(range(len(lowest)), key=lowest.__getitem__)
            given = f"a smallest eigenvalue of {self.values[i].min().item():.1e}"
            remedy = f"add jitter to this axis, or more noise than {self.shift.min().item():.1e}"
            raise NotPositiveDefiniteError(f"factors[{i}]", given, remedy)

    def project(self, rhs: Tensor, first: slice = _ALL) -> Tensor:
        """Coefficients ``Qᵀ R`` of (..., N, k), as rows (..., k, N): the layout of products.

        With `first`, R is given at these points of the first axis alone and zero elsewhere.
        """
        return along_axes([vectors.mT for vectors in self._at(first)], rhs.mT)

    def unit_rows(self, cells: Tensor) -> Tensor:
        """`project` of unit vectors, shape (..., len(cells), N), without a product."""
        where = torch.unravel_index(cells, [vectors.shape[-1] for vectors in self.vectors])
        rows = [vectors[..., i, :] for vectors, i in zip(self.vectors, where, strict=True)]
        return kronecker_vector(rows)

    def lift(self, coefficients: Tensor, first: slice = _ALL) -> Tensor:
        """``Q c``, shape (..., N, k), of rows (..., k, N); or some points of the first axis."""
        return along_axes(self._at(first), coefficients).mT

    def _at(self, first: slice) -> list[Tensor]:
        head, *others = self.vectors
        return [head[..., first, :], *others]

    def solve(self, rhs: Tensor) -> Tensor:
        """``A⁻¹ R``, shape (..., N, k)."""
        if self.shift is None:
            return kronecker_matmul(self._inverses, rhs)
        coefficients = self.project(rhs).div_(self.diagonal.unsqueeze(-2))
        return along_axes(self.vectors, coefficients, reuse=True).mT

    @cached_property
    def _inverses(self) -> list[Tensor]:
        _ = self.diagonal  # raises where there are none
        pairs = zip(self.vectors, self.values, strict=True)
        return [(vectors / values.unsqueeze(-2)) @ vectors.mT for vectors, values in pairs]

    def logdet(self) -> Tensor:
        """``log|A|``, shape (...)."""
        if self.shift is not None:
            return self.diagonal.log().sum(dim=-1)
        _ = self.diagonal  # raises where there is no logarithm
        n = math.prod(values.shape[-1] for values in self.values)
        terms = [n // values.shape[-1] * values.log().sum(dim=-1) for values in self.values]
        return torch.stack(terms).sum(dim=0)

    def form_gradients(
        self, left: Tensor, right: Tensor, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Derivative of ``Σk leftᵀ A right`` in every wanted factor, from coefficient rows."""
        gradients: list[Tensor | None] = []
        for i, (vectors, want) in enumerate(zip(self.vectors, wanted, strict=True)):
            if not want:
                gradients.append(None)
                continue
            n, after = vectors.shape[-1], _size(self.values[i + 1 :])
            weights = self._others(i).unsqueeze(-2)
            weighted = right.unflatten(-1, (-1, n, after)) * weights.unsqueeze(-4)
            inner = contract(left, weighted.flatten(-3), after, (n, n))
            gradients.append(vectors @ inner @ vectors.mT)
        return gradients

    def logdet_gradients(self, grad: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """``grad · tr(A⁻¹ dA)`` in every wanted factor; `grad` is (...)."""
        sums = self._inverse_sums()
        return [
            (vectors * (grad.unsqueeze(-1) * total).unsqueeze(-2)) @ vectors.mT if want else None
            for vectors, total, want in zip(self.vectors, sums, wanted, strict=True)
        ]

    def _others(self, i: int) -> Tensor:
        """``Π_{j≠i} λ_j`` on the axes before and after i, shape (..., before, after)."""
        ones = self.values[i].new_ones(1)
        before = kronecker_vector([ones, *self.values[:i]])
        after = kronecker_vector([ones, *self.values[i + 1 :]])
        return before.unsqueeze(-1) * after.unsqueeze(-2)

    def _inverse_sums(self) -> list[Tensor]:
        """``Σ Π_{j≠i} λ_j / (λ1 ... λd + shift)`` over all axes but i, shape (..., n_i)."""
        rest, sums = self.diagonal.reciprocal(), []
        for i in range(len(self.values) - 1, -1, -1):
            # `rest` has been summed over the later axes; the earlier ones go in one product.
            n = self.values[i].shape[-1]
            table = rest.unflatten(-1, (-1, n))
            before = kronecker_vector([self.values[i].new_ones(1), *self.values[:i]])
            sums.insert(0, (before.unsqueeze(-2) @ table).squeeze(-2))
            rest = (table @ self.values[i].unsqueeze(-1)).squeeze(-1)
        return sums


class Diagonalised(Protocol):
    """What the functions below ask of an operator."""

    @property
    def spectrum(self) -> Spectrum: ...

    def factors_wanted(self) -> Sequence[bool]:
        """Whether each factor requires a gradient."""
        ...

    def pull_back(
        self, gradients: Sequence[Tensor | None], shift: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the factors and of the shift (...,), for the representation."""
        ...


class SpectralSolve(torch.autograd.Function):
    """``x = A⁻¹ b``; ``b̄ = A⁻¹ x̄`` and ``Ā = -(b̄ xᵀ + x b̄ᵀ) / 2``, in the eigenbasis."""

    @staticmethod
    def forward(ctx: Any, op: Diagonalised, rhs: Tensor, *representation: Tensor) -> Tensor:
        spectrum = op.spectrum
        coefficients = spectrum.project(rhs).div_(spectrum.diagonal.unsqueeze(-2))
        ctx.op = op
        # The representation is saved so that torch notices if it is overwritten.
        ctx.save_for_backward(coefficients, *representation)
        return spectrum.lift(coefficients)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        coefficients, *representation = ctx.saved_tensors
        spectrum = ctx.op.spectrum
        left = spectrum.project(grad).div_(spectrum.diagonal.unsqueeze(-2))
        rhs_grad = spectrum.lift(left) if ctx.needs_input_grad[1] else None
        if not any(ctx.needs_input_grad[2:]):
            return None, rhs_grad, *(None for _ in representation)
        left, right = torch.broadcast_tensors(left, coefficients)
        gradients = [
            None if g is None else (g + g.mT) / -2
            for g in spectrum.form_gradients(left, right, ctx.op.factors_wanted())
        ]
        shift = -(left * right).sum(dim=(-2, -1))
        return None, rhs_grad, *ctx.op.pull_back(gradients, shift)


class SpectralInvQuadLogdet(torch.autograd.Function):
    """``bᵀ A⁻¹ b`` of every column and ``log|A|``; half the work of a solve.

    ``b̄ = 2 A⁻¹ b`` and ``Ā = -A⁻¹ b bᵀ A⁻¹`` for the first, ``Ā = A⁻¹`` for the second.
    """

    @staticmethod
    def forward(
        ctx: Any, op: Diagonalised, rhs: Tensor, *representation: Tensor
    ) -> tuple[Tensor, Tensor]:
        spectrum = op.spectrum
        coefficients = spectrum.project(rhs)
        solved = coefficients / spectrum.diagonal.unsqueeze(-2)
        ctx.op = op
        ctx.save_for_backward(solved, *representation)
        return torch.linalg.vecdot(coefficients, solved), spectrum.logdet()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, quad: Tensor, logdet: Tensor) -> tuple[Tensor | None, ...]:
        solved, *representation = ctx.saved_tensors
        spectrum = ctx.op.spectrum
        scaled = quad.unsqueeze(-1) * solved
        rhs_grad = spectrum.lift(2 * scaled) if ctx.needs_input_grad[1] else None
        if not any(ctx.needs_input_grad[2:]):
            return None, rhs_grad, *(None for _ in representation)
        wanted = ctx.op.factors_wanted()
        forms = spectrum.form_gradients(scaled, solved, wanted)
        determinants = spectrum.logdet_gradients(logdet, wanted)
        gradients = [
            None if d is None or f is None else d - f.sum_to_size(d.shape)
            for f, d in zip(forms, determinants, strict=True)
        ]
        # The determinant knows nothing of batch dimensions that only the columns have.
        shift = logdet * spectrum.diagonal.reciprocal().sum(dim=-1)
        shift = shift - (scaled * solved).sum(dim=(-2, -1)).sum_to_size(shift.shape)
        return None, rhs_grad, *ctx.op.pull_back(gradients, shift)


def _size(values: Sequence[Tensor]) -> int:
    return math.prod(v.shape[-1] for v in values)
