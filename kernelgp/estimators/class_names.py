"""Labels of any kind, read to numbered classes, and what is said of them."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import Training, give_back, read_training

__all__ = ["ProbabilityMixin", "log_odds", "read_labeled"]


def read_labeled(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, *, device: Any, dtype: Any = None
) -> tuple[Training, NDArray[Any], NDArray[np.int64]]:
    """Check what a classifier's `fit` got.

    Returns
    -------
    data : Training
        Its y is of no use: it numbers classes among which some may have no weight.
    classes : ndarray, shape (n_classes,)
        At least two, sorted.
    codes : ndarray, shape (n,)
        The class of each row left, by its place among `classes`.

    Raises
    ------
    ValueError
        scikit-learn's own, where X or y cannot be used.
    ArgumentError
        If there are fewer than two classes, or a weight is negative.
    """
    if y is None:
        read_training(estimator, X, y)  # refuses it in scikit-learn's words
    names = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    names = column_or_1d(names, warn=True)
    assert_all_finite(names, input_name="y")
    check_classification_targets(names)
    _, codes = np.unique(names, return_inverse=True)
    data = read_training(estimator, X, codes, sample_weight, dtype=dtype, device=device)
    classes, codes = np.unique(names[data.kept.numpy()], return_inverse=True)
    if len(classes) < 2:
        given = f"one class, {classes.tolist()[0]!r}"
        raise ArgumentError("y", given, "give at least two classes")
    return data, classes, codes


def log_odds(probabilities: Tensor) -> Tensor:
    """Of the second of two classes, shape (m,); of more, log-probabilities, (m, n_classes)."""
    tiny = torch.finfo(probabilities.dtype).tiny
    logs = probabilities.clamp(min=tiny).log()
    return logs[:, 1] - logs[:, 0] if probabilities.shape[-1] == 2 else logs


class ProbabilityMixin(ClassifierMixin):
    """What every classifier says, given averaged probabilities of its `classes_`."""

    classes_: NDArray[Any]

    @abstractmethod
    def _probabilities(self, X: Any) -> Tensor:
        """Of each class at the rows of `X`, shape (m, n_classes)."""

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class at the rows of `X`, shape (m,)."""
        probabilities = self._probabilities(X)
        return self.classes_[probabilities.argmax(dim=-1).cpu().numpy()]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the classes in the order of `classes_`, shape (m, n_classes).

        Averages over what is not known of the latent functions: far from the data they tend
        to those of the prior mean.
        """
        return give_back(self._probabilities(X), X)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log-odds of the second class, shape (m,); with more, log-probabilities, (m, n_classes).

        Of the averaged probabilities, so that its order is theirs.
        """
        return give_back(log_odds(self._probabilities(X)), X)
