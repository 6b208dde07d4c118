"""Thinning: few points that stand for many, far better than as many random ones."""

from kernelgp.thinning.compress import compress
from kernelgp.thinning.halving import kernel_halve
from kernelgp.thinning.thin import kernel_thin, maximum_mean_discrepancy

__all__ = ["compress", "kernel_halve", "kernel_thin", "maximum_mean_discrepancy"]
