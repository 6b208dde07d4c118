"""Gaussian process classification on random features, from ten rows to millions."""

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.estimators.base import Scales, check_choice, give_back, read_features, rescaled_start
from kernelgp.estimators.class_names import ProbabilityMixin, read_labeled
from kernelgp.estimators.feature_base import MapState, draw_map, start_kernel
from kernelgp.estimators.storage import SaveMixin
from kernelgp.features.coupling import Coupling, Rotation
from kernelgp.features.fourier_map import FourierMap, Waveform
from kernelgp.gp.classification import latent_bounds
from kernelgp.gp.feature_classification import (
    BinaryRows,
    LogisticFeatures,
    logistic_loss,
    weight_moments,
)
from kernelgp.gp.hyperparameters import Hyperparameters
from kernelgp.gp.labels import logistic_normal
from kernelgp.gp.optimize import learn
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_positive

__all__ = ["FeatureGPClassifier"]

# Hyperparameters are sought on so many rows and columns at most: first roughly, then well.
_STAGES = ((1000, 256), (4000, 512))
# Standard deviation of the constant: in log-odds, so that classes of one row in 10 000 are likely.
_CONSTANT = 10.0
_TOLERANCE = 1e-4  # nats


class FeatureGPClassifier(MapState, SaveMixin, ProbabilityMixin, BaseEstimator):
    """Gaussian process classification on random Fourier features: O(n D²) time, O(D²) memory.

    Bayesian logistic regression on D features, whose posterior is Laplace's: that of
    `GPClassifier` for the kernel that the features make. Rows are streamed, so memory beside that
    of the data does not grow with their number. Of more than two classes each has a function of
    its own, against all others, and their probabilities are scaled to add up to 1.

    Parameters
    ----------
    kernel : stationary kernel of kernelgp, gpytorch or scikit-learn, default=None
        Of the latent functions, in the units of the inputs. None is a variance times ARD RBF.
    n_components
        D, the number of features.
    coupling, rotation, map
        As for `FourierFeatures`.
    mean : {"constant", "zero"}
        Of the latent functions. The constant has a normal prior of standard deviation 10 and is
        fitted with the weights of the features.
    optimizer : {"lbfgs", None}
        By Laplace's evidence and its exact gradient for the random numbers drawn, on 4 000 rows
        and 512 features where there are more; the weights are then those of all rows and
        features. None keeps the hyperparameters given.
    max_iterations
        Of the optimizer.
    normalize_x
        Whether starts and bounds of the optimizer follow the spread of the inputs.
    dtype
        Of the features; None is that of X. Sums over rows and probabilities are float64.
    device : torch device, default=None
        None is the CPU, or that of a tensor X.
    random_state : int, Generator, RandomState or None
    verbose
        Whether to show progress on a terminal.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    kernel_ : Kernel
        In the units of the inputs, one for all latent functions.
    frequencies_ : ndarray, shape (n_frequencies, d)
        In cycles per unit of the inputs.
    coef_ : ndarray, shape (D, c)
        Posterior mode of the weights of the c latent functions: one for two classes, else one for
        each.
    intercept_ : ndarray, shape (c,)
    coef_covariance_ : ndarray, shape (c, D + 1, D + 1), or (c, D, D) with mean zero
        Posterior covariance of the weights; the last is `intercept_` / 10.
    log_marginal_likelihood_value_ : float
        Laplace's approximation of it, summed over the functions.
    report_ : OptimizeReport or None

    References
    ----------
    Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, sections 3.4 and 8.3;
    A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, 2007.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.where((X**2).sum(axis=1) + 0.3 * rng.normal(size=300) > 1, "far", "near")
    >>> model = FeatureGPClassifier(n_components=100, random_state=0).fit(X, y)
    >>> model.predict([[0.0, 0.0], [2.0, 0.0]])
    array(['near', 'far'], dtype='<U4')
    """

    def __init__(
        self,
        kernel: Any = None,
        n_components: int = 512,
        *,
        coupling: Coupling = "orthogonal",
        rotation: Rotation = "haar",
        map: Waveform = "sincos",  # noqa: A002 # the field's word
        mean: Literal["constant", "zero"] = "constant",
        optimizer: Literal["lbfgs"] | None = "lbfgs",
        max_iterations: int = 100,
        normalize_x: bool = True,
        dtype: Any = None,
        device: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.coupling = coupling
        self.rotation = rotation
        self.map = map
        self.mean = mean
        self.optimizer = optimizer
        self.max_iterations = max_iterations
        self.normalize_x = normalize_x
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Draw features, find hyperparameters, and learn from labeled rows.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,)
            Labels of any type that sorts; at least two classes.
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows.

        Warns
        -----
        ConvergenceWarning
            If the optimizer or Newton's method ended early.
        """
        check_choice("mean", self.mean, ["constant", "zero"])
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        check_positive("max_iterations", self.max_iterations)
        n_components = check_count("n_components", self.n_components)
        data, classes, codes = read_labeled(
            self, X, y, sample_weight, device=self.device, dtype=self.dtype
        )
        scales = Scales.of(data, normalize_x=self.normalize_x, normalize_y=False)
        kernel = start_kernel(self.kernel, data, scales, 1.0)
        labels = torch.as_tensor(codes, device=data.x.device).unsqueeze(-1)
        asked = torch.arange(1 if len(classes) == 2 else 0, len(classes), device=data.x.device)
        answers = labels == asked
        weights = torch.ones_like(data.x[:, 0]) if data.weights is None else data.weights
        rows = BinaryRows(data.x, answers, weights.double())
        generator = as_generator(self.random_state)
        seed = int(torch.randint(2**62, (), generator=generator))

        self.report_ = None
        if self.optimizer is not None:
            kernel = self._learn(kernel, rows, scales, seed)
        mapping = self._draw(n_components, kernel, rows, seed)
        found = LogisticFeatures(mapping, rows, self._constant)
        self._keep_map(mapping)
        self.classes_ = classes
        mode = found.mode.cpu().numpy()
        self.coef_ = mode[:n_components]
        self.intercept_ = self._constant * mode[n_components:].sum(axis=0)
        self.coef_covariance_ = found.covariances.cpu().numpy()
        self.log_marginal_likelihood_value_ = found.evidence.item()
        self._setting = (data.x.dtype, data.x.device)
        return self

    def predict_latent(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Means of the latent functions, shape (m,), or (m, n_classes) with more than two.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std
            Whether their posterior standard deviations, of the same shape, come with them.
        """
        mean, variance = self._moments(X)
        if mean.shape[-1] == 1:
            mean, variance = mean.squeeze(-1), variance.squeeze(-1)
        found = give_back(mean, X)
        return (found, give_back(variance.sqrt(), X)) if return_std else found

    def _moments(self, X: Any) -> tuple[Tensor, Tensor]:
        check_is_fitted(self)
        dtype, device = self._setting
        x = read_features(self, X, dtype=dtype, device=device)
        # That of the fit, whatever `mean` has been set to since.
        constant = _CONSTANT if self.coef_covariance_.shape[-1] > len(self.coef_) else 0.0
        mode = self.coef_
        if constant:
            mode = np.concatenate([mode, self.intercept_[np.newaxis] / constant])
        mode, covariances = (
            torch.as_tensor(array, device=device) for array in (mode, self.coef_covariance_)
        )
        return weight_moments(self._rebuild_map(device), mode, covariances, constant, x)

    @override
    def _probabilities(self, X: Any) -> Tensor:
        mean, variance = self._moments(X)
        each = logistic_normal(mean, variance.sqrt())
        if len(self.classes_) == 2:
            return torch.cat([1 - each, each], dim=-1)
        each = each.clamp(min=torch.finfo(each.dtype).tiny)
        return each / each.sum(dim=-1, keepdim=True)

    @property
    def _constant(self) -> float:
        return _CONSTANT if self.mean == "constant" else 0.0

    def _draw(self, n: int, kernel: Any, rows: BinaryRows, seed: int) -> FourierMap:
        generator = torch.Generator().manual_seed(seed)
        return draw_map(self, kernel, rows.x.shape[-1], n, generator).to(rows.x.device)

    def _learn(self, kernel: Any, rows: BinaryRows, scales: Scales, seed: int) -> Any:
        """The kernel with its hyperparameters learned."""
        n, wanted = len(rows.x), int(self.n_components)
        sizes = [(min(n, count), min(wanted, columns)) for count, columns in _STAGES]
        sizes = sizes[1:] if sizes[0] == sizes[1] else sizes
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))
        for i, (count, columns) in enumerate(sizes):
            part = rows.take(order[:count].sort().values.to(rows.x.device))
            if i == 0 and self.kernel is not None:
                other = rescaled_start(kernel, scales.x_scale, 1.0)
                kernel = max((kernel, other), key=lambda k: self._value(k, columns, part, seed))
            loss = _Loss(self._draw(columns, kernel, rows, seed), part, self._constant)
            self.report_ = learn(
                Hyperparameters({"": kernel}, latent_bounds(scales.x_scale)),
                loss,
                max_iterations=int(self.max_iterations),
                tolerance=_TOLERANCE,
                visible=None if self.verbose else False,
                warn=i + 1 == len(sizes),
            )
        return kernel

    def _value(self, kernel: Any, columns: int, rows: BinaryRows, seed: int) -> float:
        mapping = self._draw(columns, kernel, rows, seed)
        return LogisticFeatures(mapping, rows, self._constant).evidence.item()


class _Loss:
    """Minus the evidence as a function of the hyperparameters; begins where it last ended."""

    def __init__(self, mapping: FourierMap, rows: BinaryRows, constant: float) -> None:
        self._mapping, self._rows, self._constant = mapping, rows, constant
        self._mode: Tensor | None = None

    def __call__(self) -> Tensor:
        value, self._mode = logistic_loss(self._mapping, self._rows, self._constant, self._mode)
        return value
