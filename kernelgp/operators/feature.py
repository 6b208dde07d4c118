"""Kernel matrices of features: ``Φ Φᵀ``, never formed, and with noise solved in D x D."""

from functools import cached_property
from typing import Any, cast

import torch
from linear_operator import LinearOperator, to_dense, to_linear_operator
from linear_operator.operators import (
    CholLinearOperator,
    ConstantDiagLinearOperator,
    DiagLinearOperator,
    LowRankRootAddedDiagLinearOperator,
    LowRankRootLinearOperator,
)
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.linalg.cholesky import factorise
from kernelgp.operators.door import check_columns
from kernelgp.validation import check_finite, check_floating

__all__ = ["FeatureOperator", "NoisyFeatureOperator"]


class FeatureOperator(LowRankRootLinearOperator):
    """``Φ Φᵀ`` for features Φ of n points, shape (..., n, D): a product costs O(n D).

    With noise, ``K.add_diagonal(noise)``, solves and determinants are by the D x D matrix of
    ``I + Φᵀ Φ / noise``, exactly.

    Parameters
    ----------
    phi : Tensor or LinearOperator, shape (..., n, D)
        An operator whose products stream over rows, such as `kernelgp.features.MappedRows`,
        keeps the features out of memory.

    Raises
    ------
    ArgumentError
        If `phi` is not finite, of another dtype than float32 or float64, or no matrix.

    Examples
    --------
    >>> K = FeatureOperator(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    >>> K @ torch.tensor([1.0, 1.0])
    tensor([7., 3.])
    >>> K.add_diagonal(torch.tensor(1.0)).logdet()
    tensor(2.0794)
    """

    def __init__(self, phi: Tensor | LinearOperator) -> None:
        if not isinstance(phi, LinearOperator):
            check_floating("phi", phi)
            if phi.dim() < 2 or 0 in phi.shape:
                given = f"shape {tuple(phi.shape)}"
                raise ArgumentError("phi", given, "give (..., n, D), a row for each point")
            check_finite("phi", phi)
        super().__init__(phi)

    @property
    def phi(self) -> LinearOperator:
        """Φ, as an operator."""
        return self.root

    @property
    def is_symmetric(self) -> bool:
        return True

    @override
    def matmul(self, other: Any) -> Any:
        """``K @ other`` for a tensor of shape (..., n, k) or (n,), or an operator."""
        if isinstance(other, Tensor):
            check_columns("rhs", other, self)
        return super().matmul(other)

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the matrix, shape (len(index), n)."""
        if self.root.dim() > 2:
            raise ArgumentError("op", "a batch of operators", "index the batch first")
        chosen = to_dense(cast(Any, self.root)._getitem(index, slice(None)))
        return cast(Tensor, self.root.matmul(chosen.mT)).mT

    @override
    def _solve(self, rhs: Tensor, *_: Any, num_tridiag: int = 0, **__: Any) -> Any:
        if num_tridiag:
            return super()._solve(rhs, num_tridiag=num_tridiag)
        return cast(Any, self.cholesky())._cholesky_solve(rhs)

    @override
    def inv_quad_logdet(
        self,
        inv_quad_rhs: Tensor | None = None,
        logdet: bool | None = False,
        reduce_inv_quad: bool | None = True,
    ) -> tuple[Tensor, Tensor]:
        # Without noise there is an inverse only of no more points than features.
        factor: Any = CholLinearOperator(cast(Any, self.cholesky()))
        return factor.inv_quad_logdet(inv_quad_rhs, logdet, reduce_inv_quad)

    @override
    def _prod_batch(self, dim: int) -> LinearOperator:
        # linear_operator's own is wrong for an odd batch unless D is n (0.6.1).
        return to_linear_operator(self.to_dense().prod(dim))

    @override
    def add_diagonal(self, diag: Tensor) -> "NoisyFeatureOperator":
        """``K + diag(diag)``, with `diag` of shape (), (..., 1) or (..., n), positive."""
        if not isinstance(diag, Tensor):
            raise ArgumentTypeError("diag", type(diag).__name__, "give a tensor")
        return _add(self, _diagonal(diag, self))

    @override
    def __add__(self, other: Any) -> Any:
        if isinstance(other, DiagLinearOperator):
            return _add(self, other)
        return super().__add__(other)


class NoisyFeatureOperator(LowRankRootAddedDiagLinearOperator):
    """``Φ Φᵀ + D``; made by ``FeatureOperator.add_diagonal``."""

    @property
    def base(self) -> FeatureOperator:
        """``Φ Φᵀ``."""
        return cast(FeatureOperator, self._linear_op)

    @override
    def _choose_root_method(self) -> str:
        # A truncated Lanczos root is no root: variances and samples from it are wrong.
        return "cholesky"

    @property
    def noise(self) -> Tensor:
        """The diagonal of D, (..., n)."""
        return cast(DiagLinearOperator, self._diag_tensor)._diagonal()

    @property
    def is_symmetric(self) -> bool:
        return True

    @override
    def matmul(self, other: Any) -> Any:
        if isinstance(other, Tensor):
            check_columns("rhs", other, self)
        return super().matmul(other)

    @cached_property
    def _capacity(self) -> Tensor:
        """A Cholesky factor of ``I + Φᵀ D⁻¹ Φ`` in float64, without a graph."""
        root, noise = self.base.root, self.noise.detach().double()
        with torch.no_grad():
            phi = root.to_dense().double()
            inner = phi.mT @ (phi / noise.unsqueeze(-1))
            inner.diagonal(dim1=-2, dim2=-1).add_(1.0)
            return factorise(inner, torch.float64).factor

    def direct_solve(self, rhs: Tensor) -> Tensor:
        """``A⁻¹ rhs`` for a tensor of shape (..., n, k), through float64."""
        noise = self.noise.detach().double().unsqueeze(-1)
        phi = self.base.root.to_dense().detach().double()
        scaled = rhs.double() / noise
        inner = torch.cholesky_solve(phi.mT @ scaled, self._capacity)
        return (scaled - (phi @ inner) / noise).to(rhs)

    def direct_logdet(self) -> Tensor:
        """``log |A|``, through float64."""
        inner = 2 * self._capacity.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        return (inner + self.noise.detach().double().log().sum(dim=-1)).to(self.dtype)


def _add(base: FeatureOperator, diagonal: DiagLinearOperator) -> NoisyFeatureOperator:
    # Its annotations have a tuple where it takes two arguments.
    return cast(Any, NoisyFeatureOperator)(base, diagonal)


def _diagonal(diag: Tensor, op: LinearOperator) -> DiagLinearOperator:
    n = op.shape[-1]
    if diag.dim() == 0 or diag.shape[-1] == 1:
        values = diag.unsqueeze(-1) if diag.dim() == 0 else diag
        return ConstantDiagLinearOperator(values, diag_shape=n)
    if diag.shape[-1] != n:
        remedy = f"give (), (..., 1) or (..., {n})"
        raise ArgumentError("diag", f"shape {tuple(diag.shape)}", remedy)
    return DiagLinearOperator(diag)
