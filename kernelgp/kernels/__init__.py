"""Covariance functions: their values, derivatives, spectra and frequencies."""

from kernelgp.kernels.combination import PowerKernel, ProductKernel, ScaledKernel, SumKernel
from kernelgp.kernels.constant import Constant, White
from kernelgp.kernels.dot_product import Linear, Polynomial
from kernelgp.kernels.gpytorch_conversion import from_gpytorch
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.matern import Matern
from kernelgp.kernels.periodic import Periodic, RadialPeriodic
from kernelgp.kernels.rational_quadratic import RationalQuadratic
from kernelgp.kernels.rbf import RBF
from kernelgp.kernels.sklearn_conversion import from_sklearn
from kernelgp.kernels.spectral_mixture import SpectralMixture
from kernelgp.kernels.stationary import StationaryKernel, StationaryProfile

__all__ = [
    "RBF",
    "Constant",
    "Kernel",
    "Linear",
    "Matern",
    "Periodic",
    "Polynomial",
    "PowerKernel",
    "ProductKernel",
    "RadialPeriodic",
    "RationalQuadratic",
    "ScaledKernel",
    "SpectralMixture",
    "StationaryKernel",
    "StationaryProfile",
    "SumKernel",
    "White",
    "from_gpytorch",
    "from_sklearn",
]
