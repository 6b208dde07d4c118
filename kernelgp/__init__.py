"""Gaussian processes and kernel methods in which everything is a lazy linear operator."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `import kernelgp.operators` brings in neither scikit-learn
# nor matplotlib.
_SUBMODULES = ("errors", "kernels", "linalg", "operators")

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"kernelgp.{name}")
    raise AttributeError(f"module 'kernelgp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
