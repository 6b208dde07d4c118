"""From scikit-learn's kernels to ours, number for number."""

from typing import Any

from sklearn.gaussian_process import kernels as peer

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels.combination import ProductKernel, SumKernel
from kernelgp.kernels.constant import Constant, White
from kernelgp.kernels.dot_product import Linear, Polynomial
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.matern import Matern
from kernelgp.kernels.periodic import RadialPeriodic
from kernelgp.kernels.rational_quadratic import RationalQuadratic
from kernelgp.kernels.rbf import RBF

__all__ = ["from_sklearn"]


def from_sklearn(kernel: Any) -> Kernel:
    """The same kernel as ours; covariances agree to rounding.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Sums, products and whole powers of RBF, Matern (nu 0.5, 1.5, 2.5, inf),
        RationalQuadratic, ExpSineSquared, DotProduct, ConstantKernel and WhiteKernel.

    Raises
    ------
    ArgumentError
        If a part cannot be converted; it is named.

    Examples
    --------
    >>> from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    >>> from_sklearn(2.0 * RBF(0.3) + WhiteKernel(0.1))
    2.0 * RBF(lengthscale=0.3) + White(noise=0.1)
    """
    match kernel:
        case peer.Sum():
            return SumKernel(from_sklearn(kernel.k1), from_sklearn(kernel.k2))
        case peer.Product(k1=peer.ConstantKernel(), k2=inner):
            return kernel.k1.constant_value * from_sklearn(inner)
        case peer.Product():
            return ProductKernel(from_sklearn(kernel.k1), from_sklearn(kernel.k2))
        case peer.Exponentiation():
            if kernel.exponent != int(kernel.exponent) or kernel.exponent < 1:
                raise _refused(kernel, "give a positive whole number as its exponent")
            return from_sklearn(kernel.kernel) ** int(kernel.exponent)
        case peer.Matern():  # before RBF, whose subclass it is
            return _matern(kernel)
        case peer.RBF():
            return RBF(_numbers(kernel.length_scale))
        case peer.RationalQuadratic():
            return RationalQuadratic(kernel.alpha, kernel.length_scale)
        case peer.ExpSineSquared():
            return RadialPeriodic(kernel.periodicity, kernel.length_scale)
        case peer.DotProduct():
            offset = kernel.sigma_0**2
            return Polynomial(degree=1, offset=offset) if offset else Linear()
        case peer.ConstantKernel():
            return kernel.constant_value * Constant()
        case peer.WhiteKernel():
            return White(kernel.noise_level)
        case peer.Kernel():
            raise _refused(kernel, "build it from kernelgp.kernels")
        case _:
            raise ArgumentTypeError("kernel", type(kernel).__name__, "give one of scikit-learn's")


def _matern(kernel: Any) -> Kernel:
    lengthscale = _numbers(kernel.length_scale)
    if kernel.nu == float("inf"):
        return RBF(lengthscale)
    if kernel.nu not in (0.5, 1.5, 2.5):
        raise _refused(kernel, "give nu as 0.5, 1.5, 2.5 or inf")
    return Matern(kernel.nu, lengthscale)


def _numbers(value: Any) -> Any:
    return list(value) if hasattr(value, "__len__") else value


def _refused(kernel: Any, remedy: str) -> ArgumentError:
    return ArgumentError("kernel", f"{type(kernel).__name__}, {kernel}", remedy)
