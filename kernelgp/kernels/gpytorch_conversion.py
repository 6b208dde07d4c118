"""From gpytorch's kernels to ours, number for number."""

import math
from collections.abc import Sequence
from typing import Any

import gpytorch.kernels as peer
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels.combination import ProductKernel, ScaledKernel, SumKernel
from kernelgp.kernels.constant import Constant
from kernelgp.kernels.dot_product import Linear, Polynomial
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.matern import Matern
from kernelgp.kernels.periodic import Periodic
from kernelgp.kernels.rational_quadratic import RationalQuadratic
from kernelgp.kernels.rbf import RBF
from kernelgp.kernels.spectral_mixture import SpectralMixture

__all__ = ["from_gpytorch"]

Columns = tuple[int, ...] | None


def from_gpytorch(kernel: Any) -> Kernel:
    """The same kernel as ours, at its present hyperparameters; covariances agree to rounding.

    ARD, batches of hyperparameters and `active_dims` are kept; priors, constraints and
    gradients are not.

    Parameters
    ----------
    kernel : gpytorch.kernels.Kernel
        ScaleKernel, AdditiveKernel and ProductKernel of RBFKernel, MaternKernel, RQKernel,
        PeriodicKernel, LinearKernel, PolynomialKernel, ConstantKernel and SpectralMixtureKernel.

    Raises
    ------
    ArgumentError
        If a part cannot be converted; it is named.

    Examples
    --------
    >>> import gpytorch
    >>> from_gpytorch(gpytorch.kernels.RBFKernel(active_dims=[1]).initialize(lengthscale=0.5))
    RBF(lengthscale=0.5, active_dims=(1,))
    """
    if not isinstance(kernel, peer.Kernel):
        raise ArgumentTypeError("kernel", type(kernel).__name__, "give one of gpytorch's")
    return _convert(kernel, None)


def _convert(kernel: Any, outer: Columns) -> Kernel:
    """`kernel` on points of which its parents have selected the columns `outer`."""
    return _convert_selected(kernel, _columns(kernel, outer))


def _convert_selected(kernel: Any, columns: Columns) -> Kernel:
    if isinstance(kernel, Kernel):  # one of ours, alone or within gpytorch's
        if columns is None:
            return kernel
        given = f"{kernel} within a kernel with active_dims {columns}"
        raise ArgumentError("kernel", given, "give the columns to the inner kernel")
    # By exact type: a subclass may compute something else (RBFKernelGrad does).
    kind = type(kernel)
    if kind is peer.ScaleKernel:
        # It takes over the active_dims of its base and calls the base without selecting again.
        return ScaledKernel(
            _values(kernel.outputscale), _convert_selected(kernel.base_kernel, columns)
        )
    if kind is peer.AdditiveKernel:
        return SumKernel(*(_convert(part, columns) for part in kernel.kernels))
    if kind is peer.ProductKernel:
        return ProductKernel(*(_convert(part, columns) for part in kernel.kernels))
    if kind is peer.RBFKernel:
        return RBF(_values(kernel.lengthscale), columns)
    if kind is peer.MaternKernel:
        return Matern(kernel.nu, _values(kernel.lengthscale), columns)
    if kind is peer.RQKernel:
        alpha = _values(kernel.alpha).squeeze(-1)
        return RationalQuadratic(alpha, _values(kernel.lengthscale), columns)
    if kind is peer.PeriodicKernel:
        # exp(-2 sin² / lengthscale) there: the lengthscale is not squared.
        return Periodic(_values(kernel.period_length), _values(kernel.lengthscale).sqrt(), columns)
    if kind is peer.LinearKernel:
        return _linear(_values(kernel.variance), columns)
    if kind is peer.PolynomialKernel:
        return _polynomial(kernel, columns)
    if kind is peer.ConstantKernel:
        return ScaledKernel(_values(kernel.constant).squeeze(-1), Constant())
    if kind is peer.SpectralMixtureKernel:
        return _spectral_mixture(kernel, columns)
    remedy = "build it from kernelgp.kernels, or give it to KernelOperator as it is"
    raise ArgumentError("kernel", kind.__name__, remedy)


def _columns(kernel: Any, outer: Columns) -> Columns:
    if kernel.active_dims is None:
        return outer
    inner: Sequence[int] = kernel.active_dims.tolist()
    return tuple(inner) if outer is None else tuple(outer[column] for column in inner)


def _values(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


def _linear(variance: Tensor, columns: Columns) -> Kernel:
    d = variance.shape[-1]
    if d == 1:
        return ScaledKernel(variance[..., 0, 0], Linear(columns))
    each = range(d) if columns is None else columns
    shares = zip(variance[..., 0, :].unbind(-1), each, strict=True)
    return SumKernel(*(ScaledKernel(share, Linear([column])) for share, column in shares))


def _polynomial(kernel: Any, columns: Columns) -> Kernel:
    if kernel.power != int(kernel.power) or kernel.power < 1:
        given = f"PolynomialKernel of power {kernel.power}"
        raise ArgumentError("kernel", given, "give a positive whole number as its power")
    return Polynomial(int(kernel.power), _values(kernel.offset).squeeze(-1), columns)


def _spectral_mixture(kernel: Any, columns: Columns) -> Kernel:
    """Theirs is, over the inputs, a product of sums; ours a sum of products."""
    if kernel.batch_shape:
        given = f"SpectralMixtureKernel of batch shape {tuple(kernel.batch_shape)}"
        raise ArgumentError("kernel", given, "convert its elements one by one")
    means, widths = _values(kernel.mixture_means), _values(kernel.mixture_scales)
    lengthscales, weights = 1 / (2 * math.pi * widths), _values(kernel.mixture_weights)
    each = range(kernel.ard_num_dims) if columns is None else columns
    factors = [
        SpectralMixture("gaussian", means[:, 0, j], lengthscales[:, 0, j], weights, active_dims=[c])
        for j, c in enumerate(each)
    ]
    return ProductKernel(*factors) if len(factors) > 1 else factors[0]
