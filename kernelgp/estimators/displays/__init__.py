"""Pictures of what an estimator found, in scikit-learn's manner: from an estimator, or numbers."""

from kernelgp.estimators.displays.calibration import CalibrationDisplay
from kernelgp.estimators.displays.convergence import ConvergenceDisplay
from kernelgp.estimators.displays.coupling_gain import CouplingGainDisplay
from kernelgp.estimators.displays.feature_error import FeatureErrorDisplay
from kernelgp.estimators.displays.prediction_band import PredictionBandDisplay
from kernelgp.estimators.displays.relevance import RelevanceDisplay
from kernelgp.estimators.displays.residuals import ResidualsDisplay

__all__ = [
    "CalibrationDisplay",
    "ConvergenceDisplay",
    "CouplingGainDisplay",
    "FeatureErrorDisplay",
    "PredictionBandDisplay",
    "RelevanceDisplay",
    "ResidualsDisplay",
]
