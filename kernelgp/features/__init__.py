"""Random features: maps whose inner products approximate a kernel."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelgp.features.binning import RandomBinning
    from kernelgp.features.bundling import bundle
    from kernelgp.features.fourier import FourierFeatures
    from kernelgp.features.graph import GraphFeatures, GraphKernelOperator, GraphModule
    from kernelgp.features.kaf import KAFLinear
    from kernelgp.features.layers import SNNKLinear
    from kernelgp.features.neural import ArcCosineFeatures, NNGPFeatures, nngp_kernel
    from kernelgp.features.nystroem import NystroemFeatures
    from kernelgp.features.positive import PositiveFeatures
    from kernelgp.features.quantized import PackedFeatures, QuantizedFourierFeatures
    from kernelgp.features.sampler import sample_frequencies
    from kernelgp.features.sketch import PolynomialSketch
    from kernelgp.features.suggest import Suggestion, suggest_features
    from kernelgp.features.theory import fourier_error, relative_error
    from kernelgp.features.universal import UniversalFeatures

__all__ = [
    "ArcCosineFeatures",
    "FourierFeatures",
    "GraphFeatures",
    "GraphKernelOperator",
    "GraphModule",
    "KAFLinear",
    "NNGPFeatures",
    "NystroemFeatures",
    "PackedFeatures",
    "PolynomialSketch",
    "PositiveFeatures",
    "QuantizedFourierFeatures",
    "RandomBinning",
    "SNNKLinear",
    "Suggestion",
    "UniversalFeatures",
    "bundle",
    "fourier_error",
    "nngp_kernel",
    "relative_error",
    "sample_frequencies",
    "suggest_features",
]

# Loaded on first use: the sampler needs no scikit-learn, and some features are compiled.
_PLACES = {
    "ArcCosineFeatures": "neural",
    "FourierFeatures": "fourier",
    "GraphFeatures": "graph",
    "GraphKernelOperator": "graph",
    "GraphModule": "graph",
    "KAFLinear": "kaf",
    "NNGPFeatures": "neural",
    "NystroemFeatures": "nystroem",
    "PackedFeatures": "quantized",
    "PolynomialSketch": "sketch",
    "PositiveFeatures": "positive",
    "QuantizedFourierFeatures": "quantized",
    "RandomBinning": "binning",
    "SNNKLinear": "layers",
    "UniversalFeatures": "universal",
    "bundle": "bundling",
    "nngp_kernel": "neural",
    "Suggestion": "suggest",
    "fourier_error": "theory",
    "relative_error": "theory",
    "sample_frequencies": "sampler",
    "suggest_features": "suggest",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"kernelgp.features.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'kernelgp.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
