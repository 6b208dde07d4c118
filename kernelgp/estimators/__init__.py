"""Estimators with scikit-learn's manners."""

from kernelgp.estimators.gp_regressor import GPRegressor

__all__ = ["GPRegressor"]
