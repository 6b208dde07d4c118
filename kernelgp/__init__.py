"""Gaussian processes and kernel methods in which everything is a lazy linear operator."""

import io
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernelgp import attention, errors, features, kernels, linalg, operators, thinning, vecchia
    from kernelgp.estimators.displays import (
        CalibrationDisplay,
        ConvergenceDisplay,
        CouplingGainDisplay,
        FeatureErrorDisplay,
        PredictionBandDisplay,
        RelevanceDisplay,
        ResidualsDisplay,
    )
    from kernelgp.estimators.dklgp_classifier import DKLGPClassifier
    from kernelgp.estimators.dklgp_regressor import DKLGPRegressor
    from kernelgp.estimators.feature_gp_classifier import FeatureGPClassifier
    from kernelgp.estimators.feature_gp_regressor import FeatureGPRegressor
    from kernelgp.estimators.feature_ridge import FeatureRidge
    from kernelgp.estimators.gp_classifier import GPClassifier
    from kernelgp.estimators.gp_regressor import GPRegressor
    from kernelgp.estimators.kernel_ridge import KernelRidge
    from kernelgp.estimators.nystroem_gp import NystroemGPRegressor
    from kernelgp.features.binning import RandomBinning
    from kernelgp.features.fourier import FourierFeatures
    from kernelgp.features.graph import GraphFeatures
    from kernelgp.features.neural import ArcCosineFeatures, NNGPFeatures
    from kernelgp.features.nystroem import NystroemFeatures
    from kernelgp.features.positive import PositiveFeatures
    from kernelgp.features.quantized import QuantizedFourierFeatures
    from kernelgp.features.sketch import PolynomialSketch
    from kernelgp.features.universal import UniversalFeatures

__version__ = "0.1.0"

# Loaded on first use, so that `import kernelgp.operators` brings in neither scikit-learn
# nor matplotlib.
__all__ = [
    "ArcCosineFeatures",
    "CalibrationDisplay",
    "ConvergenceDisplay",
    "CouplingGainDisplay",
    "DKLGPClassifier",
    "DKLGPRegressor",
    "FeatureErrorDisplay",
    "FeatureGPClassifier",
    "FeatureGPRegressor",
    "FeatureRidge",
    "FourierFeatures",
    "GPClassifier",
    "GPRegressor",
    "GraphFeatures",
    "KernelRidge",
    "NNGPFeatures",
    "NystroemFeatures",
    "NystroemGPRegressor",
    "PolynomialSketch",
    "PositiveFeatures",
    "PredictionBandDisplay",
    "QuantizedFourierFeatures",
    "RandomBinning",
    "RelevanceDisplay",
    "ResidualsDisplay",
    "UniversalFeatures",
    "__version__",
    "attention",
    "errors",
    "features",
    "kernels",
    "linalg",
    "operators",
    "thinning",
    "vecchia",
]
_CLASSES = {
    "ArcCosineFeatures": "kernelgp.features.neural",
    "CalibrationDisplay": "kernelgp.estimators.displays",
    "ConvergenceDisplay": "kernelgp.estimators.displays",
    "CouplingGainDisplay": "kernelgp.estimators.displays",
    "DKLGPClassifier": "kernelgp.estimators.dklgp_classifier",
    "DKLGPRegressor": "kernelgp.estimators.dklgp_regressor",
    "FeatureErrorDisplay": "kernelgp.estimators.displays",
    "FeatureGPClassifier": "kernelgp.estimators.feature_gp_classifier",
    "FeatureGPRegressor": "kernelgp.estimators.feature_gp_regressor",
    "FeatureRidge": "kernelgp.estimators.feature_ridge",
    "FourierFeatures": "kernelgp.features.fourier",
    "GPClassifier": "kernelgp.estimators.gp_classifier",
    "GPRegressor": "kernelgp.estimators.gp_regressor",
    "GraphFeatures": "kernelgp.features.graph",
    "KernelRidge": "kernelgp.estimators.kernel_ridge",
    "NNGPFeatures": "kernelgp.features.neural",
    "NystroemFeatures": "kernelgp.features.nystroem",
    "NystroemGPRegressor": "kernelgp.estimators.nystroem_gp",
    "PolynomialSketch": "kernelgp.features.sketch",
    "PositiveFeatures": "kernelgp.features.positive",
    "PredictionBandDisplay": "kernelgp.estimators.displays",
    "QuantizedFourierFeatures": "kernelgp.features.quantized",
    "RandomBinning": "kernelgp.features.binning",
    "RelevanceDisplay": "kernelgp.estimators.displays",
    "ResidualsDisplay": "kernelgp.estimators.displays",
    "UniversalFeatures": "kernelgp.features.universal",
}


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    if name in __all__:
        return import_module(f"kernelgp.{name}")
    raise AttributeError(f"module 'kernelgp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _import_gpytorch_without_pykeops() -> None:
    sys.modules["pykeops"] = None  # pyright: ignore[reportArgumentType]  # means: not there
    import_module("gpytorch")
    del sys.modules["pykeops"]


# gpytorch imports pykeops wherever it is installed. It can do without, but takes only an
# ImportError for an answer and not the OSError of a cache folder that cannot be written; and
# pykeops greets on stdout, where other programs read our results.
try:
    with redirect_stdout(io.StringIO()):
        import_module("pykeops")
except ImportError:
    pass
except OSError:
    _import_gpytorch_without_pykeops()
