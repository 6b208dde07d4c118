"""Random Fourier features in few bits."""

from kernelgp.features.quantized.features import QuantizedFourierFeatures, QuantizedMap
from kernelgp.features.quantized.packed import PackedFeatures

__all__ = ["PackedFeatures", "QuantizedFourierFeatures", "QuantizedMap"]
