"""Random features: maps whose inner products approximate a kernel."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelgp.features.fourier import FourierFeatures
    from kernelgp.features.graph import GraphFeatures, GraphKernelOperator, GraphModule
    from kernelgp.features.positive import PositiveFeatures
    from kernelgp.features.quantized import PackedFeatures, QuantizedFourierFeatures
    from kernelgp.features.sampler import sample_frequencies

__all__ = [
    "FourierFeatures",
    "GraphFeatures",
    "GraphKernelOperator",
    "GraphModule",
    "PackedFeatures",
    "PositiveFeatures",
    "QuantizedFourierFeatures",
    "sample_frequencies",
]

# Loaded on first use: the sampler needs no scikit-learn, and some features are compiled.
_PLACES = {
    "FourierFeatures": "fourier",
    "GraphFeatures": "graph",
    "GraphKernelOperator": "graph",
    "GraphModule": "graph",
    "PackedFeatures": "quantized",
    "PositiveFeatures": "positive",
    "QuantizedFourierFeatures": "quantized",
    "sample_frequencies": "sampler",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"kernelgp.features.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'kernelgp.features' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
