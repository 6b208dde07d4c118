"""Classes with probabilities, from a Gaussian process behind a logistic or softmax function."""

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import (
    Scales,
    as_kernel,
    check_choice,
    give_back,
    read_features,
)
from kernelgp.estimators.class_names import ProbabilityMixin, read_labeled
from kernelgp.estimators.storage import SaveMixin
from kernelgp.gp.classification import LaplaceLoss, LatentPrior, learn_by_laplace, mode_of
from kernelgp.gp.inducing import read_inducing
from kernelgp.gp.labels import LabeledRows, LabelLikelihood, label_likelihood
from kernelgp.gp.laplace import LaplacePosterior
from kernelgp.gp.offset import Offset
from kernelgp.gp.svgp import SparseLatent, SparsePosterior
from kernelgp.gp.svgp_learning import SparseOptions, fit_sparse
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["GPClassifier"]

# Rows up to which a Laplace fit with learned hyperparameters takes less than half a minute on
# two cores: its Newton steps cost c n³ for c latent functions.
_LAPLACE_WORK = 2500**3
_STATE = (
    "X_train_",
    "y_train_",
    "weights_",
    "dual_coef_",
    "inducing_points_",
    "inducing_precision_",
    "inducing_shift_",
)


class GPClassifier(SaveMixin, ProbabilityMixin, BaseEstimator):
    """Gaussian process classification: logistic for two classes, softmax for more.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        Of the latent functions, in the units of the inputs. None is a variance times ARD
        Matérn-5/2.
    method : {"auto", "laplace", "variational"}
        "laplace" finds the mode of the latent functions at all rows, O(c n³); "variational" a
        normal posterior at inducing points, O(c n m²). "auto" is the former up to 2 500 rows of
        two classes, or as much work.
    mean : {"constant", "zero"}
        Of the latent functions. The constant is learned, so it stays 0 without an optimizer.
    optimizer : {"lbfgs", None}
        None keeps the hyperparameters as given.
    n_restarts
        Random starts of the optimizer besides the kernel's own.
    max_iterations
        Of the optimizer.
    n_inducing
        Inducing points of "variational", at most.
    inducing : {"rpcholesky", "kmeans", "random"} or array-like of shape (m, d)
        How they are chosen among the rows, or the points themselves.
    learn_inducing
        Whether they move while hyperparameters are learned.
    max_epochs
        Passes over the rows while hyperparameters are learned, after a start from Laplace's
        method on a subsample.
    warm_start
        Whether a further `fit` begins at the hyperparameters of the last one.
    normalize_x
        Whether starts and bounds of the optimizer follow the spread of the inputs.
    device : torch device, default=None
        None is the CPU, or that of a tensor X.
    random_state : int, Generator, RandomState or None
    verbose
        Whether to show progress on a terminal.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    kernel_ : Kernel
        In the units of the inputs.
    mean_ : ndarray, shape (c,)
        Of each of the c latent functions: one for two classes, else one for each.
    method_ : str
        "laplace" or "variational".
    X_train_, y_train_, weights_ : ndarray, shape (n, d), (n,), (n,)
        With "laplace"; `y_train_` numbers the classes.
    dual_coef_ : ndarray, shape (n, c)
        With "laplace": latent means at x are ``k(x, X_train_) @ dual_coef_ + mean_``.
    inducing_points_ : ndarray, shape (m, d)
        With "variational".
    inducing_precision_, inducing_shift_ : ndarray, shape (c, m, m), (m, c)
        With "variational": natural parameters of the whitened inducing values.
    log_marginal_likelihood_value_ : float
        Laplace's approximation of it, or the variational bound.
    report_ : OptimizeReport, SparseReport or None
        What the optimizer did.

    References
    ----------
    Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, chapter 3. Hensman,
    Matthews and Ghahramani, *Scalable variational Gaussian process classification*, 2015.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2))
    >>> y = np.where(X.sum(axis=1) + rng.normal(size=100) > 0, "high", "low")
    >>> model = GPClassifier(random_state=0).fit(X, y)
    >>> model.predict([[1.0, 1.0], [-1.0, -1.0]])
    array(['high', 'low'], dtype='<U4')
    >>> model.predict_proba([[1.0, 1.0], [0.0, 0.0]]).round(1)
    array([[0.9, 0.1],
           [0.4, 0.6]])
    """

    # Set by one method or the other.
    X_train_: NDArray[Any]
    y_train_: NDArray[Any]
    weights_: NDArray[Any]
    dual_coef_: NDArray[np.float64]
    inducing_points_: NDArray[np.float64]
    inducing_precision_: NDArray[np.float64]
    inducing_shift_: NDArray[np.float64]

    def __init__(
        self,
        kernel: Any = None,
        *,
        method: Literal["auto", "laplace", "variational"] = "auto",
        mean: Literal["constant", "zero"] = "constant",
        optimizer: Literal["lbfgs"] | None = "lbfgs",
        n_restarts: int = 0,
        max_iterations: int = 200,
        n_inducing: int = 512,
        inducing: Any = "rpcholesky",
        learn_inducing: bool = True,
        max_epochs: int = 5,
        warm_start: bool = False,
        normalize_x: bool = True,
        device: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.method = method
        self.mean = mean
        self.optimizer = optimizer
        self.n_restarts = n_restarts
        self.max_iterations = max_iterations
        self.n_inducing = n_inducing
        self.inducing = inducing
        self.learn_inducing = learn_inducing
        self.max_epochs = max_epochs
        self.warm_start = warm_start
        self.normalize_x = normalize_x
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from labeled rows.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,)
            Labels of any type that sorts; at least two classes.
        sample_weight : array-like, shape (n,), optional
            A row of weight 2 counts as two equal rows.
        """
        check_choice("method", self.method, ["auto", "laplace", "variational"])
        check_choice("mean", self.mean, ["constant", "zero"])
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        for name in ("n_restarts", "max_epochs"):
            check_positive(name, getattr(self, name), zero=True)
        for name in ("max_iterations", "n_inducing"):
            check_positive(name, getattr(self, name))
        generator = as_generator(self.random_state)
        data, scales = self._read(X, y, sample_weight)
        prior = self._prior(data.likelihood, scales)
        self.method_ = self.method
        if self.method == "auto":
            work = data.likelihood.n_latents * len(data) ** 3
            self.method_ = "laplace" if work <= _LAPLACE_WORK else "variational"
        fit = self._fit_laplace if self.method_ == "laplace" else self._fit_variational
        state = fit(prior, data, scales.x_scale, generator)
        for name in _STATE:
            self.__dict__.pop(name, None)  # of an earlier fit by the other method
        for name, value in state.items():
            setattr(self, name, value)
        self.kernel_ = prior.kernel
        self.mean_ = prior.offset.constant.detach().cpu().numpy()
        self._device = data.x.device
        self._posterior = self._build_posterior()
        return self

    def _fit_laplace(
        self, prior: LatentPrior, data: LabeledRows, x_scale: Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        self.report_ = None
        if self.optimizer is not None:
            self.report_ = learn_by_laplace(
                prior,
                data,
                x_scale=x_scale,
                starts=int(self.n_restarts),
                max_iterations=int(self.max_iterations),
                generator=generator,
                visible=None if self.verbose else False,
            )
        found = mode_of(prior, data)
        self.log_marginal_likelihood_value_ = found.evidence.item()
        return {
            "X_train_": data.x.cpu().numpy(),
            "y_train_": data.labels.cpu().numpy(),
            "weights_": data.weights.cpu().numpy(),
            "dual_coef_": found.dual.cpu().numpy(),
        }

    def _fit_variational(
        self, prior: LatentPrior, data: LabeledRows, x_scale: Tensor, generator: torch.Generator
    ) -> dict[str, Any]:
        options = SparseOptions(
            n_inducing=int(self.n_inducing),
            inducing=read_inducing(self.inducing, data.x.shape[-1]),
            learn_hyperparameters=self.optimizer is not None,
            learn_points=bool(self.learn_inducing),
            from_laplace=not (self.warm_start and hasattr(self, "kernel_")),
            epochs=int(self.max_epochs),
            starts=int(self.n_restarts),
            max_iterations=int(self.max_iterations),
        )
        found = fit_sparse(
            prior,
            data,
            options,
            x_scale=x_scale,
            generator=generator,
            visible=None if self.verbose else False,
        )
        self.report_ = found.report
        self.log_marginal_likelihood_value_ = found.report.bound
        return {
            "inducing_points_": found.points.cpu().numpy(),
            "inducing_precision_": found.posterior.precision.cpu().numpy(),
            "inducing_shift_": found.posterior.shift.cpu().numpy(),
        }

    def predict_latent(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Means of the latent functions, shape (m,), or (m, n_classes) with more than two.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std
            Whether their posterior standard deviations, of the same shape, come with them.
        """
        x = self._read_features(X)
        posterior = self._posterior_now()
        if not return_std:
            return give_back(_squeeze(posterior.mean(x)), X)
        mean, covariance = posterior.moments(x)
        std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        return give_back(_squeeze(mean), X), give_back(_squeeze(std), X)

    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, *, eval_gradient: bool = False
    ) -> Any:
        """Laplace's approximation of it, at other hyperparameters than the fitted ones too.

        Parameters
        ----------
        theta : array-like, shape (p,), optional
            Logarithms of the kernel's positive hyperparameters, sorted by name within each
            part; the prior means that were learned follow. None is what `fit` found.
        eval_gradient
            Whether the gradient by `theta`, shape (p,), comes with it.
        """
        check_is_fitted(self)
        if self.method_ != "laplace":
            remedy = 'fit with method="laplace"; the bound is log_marginal_likelihood_value_'
            raise ArgumentError("method", f"a fit by {self.method_!r}", remedy)
        prior = self._fitted_prior()
        hyper = prior.hyperparameters(torch.ones(self.X_train_.shape[1], dtype=torch.float64))
        if theta is not None:
            values = torch.tensor(np.array(theta, dtype=np.float64))
            if values.shape != (len(hyper),) or not bool(values.isfinite().all()):
                given = f"{np.asarray(theta)}"
                raise ArgumentError("theta", given, f"give {len(hyper)} finite numbers")
            hyper.assign_theta(values)
        loss = LaplaceLoss(prior, self._data())
        if not eval_gradient:
            with torch.no_grad():
                return -loss().item()
        value = loss()
        value.backward()
        return -value.item(), -hyper.gradient().numpy()

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[LabeledRows, Scales]:
        """Rows with numbered labels; sets `classes_`."""
        data, self.classes_, codes = read_labeled(self, X, y, sample_weight, device=self.device)
        labels = torch.as_tensor(codes, device=data.x.device)
        weights = torch.ones_like(data.x[:, 0]) if data.weights is None else data.weights
        scales = Scales.of(data, normalize_x=self.normalize_x, normalize_y=False)
        likelihood = label_likelihood(len(self.classes_))
        return LabeledRows(data.x, labels, weights, likelihood), scales

    def _prior(self, likelihood: LabelLikelihood, scales: Scales) -> LatentPrior:
        values = torch.zeros(likelihood.n_latents, dtype=torch.float64)
        if self.warm_start and hasattr(self, "kernel_"):
            kernel = as_kernel(self.kernel_, scales.x_scale)
            if len(self.mean_) == len(values):
                values = torch.as_tensor(self.mean_)
        else:
            kernel = as_kernel(self.kernel, scales.x_scale)
        learned = self.mean == "constant" and self.optimizer is not None
        return LatentPrior(kernel, Offset(values, learned=learned))

    def _fitted_prior(self) -> LatentPrior:
        """A copy."""
        scale = torch.ones(self.X_train_.shape[1], dtype=torch.float64)
        learned = self.mean == "constant" and self.optimizer is not None
        offset = Offset(torch.as_tensor(self.mean_), learned=learned)
        return LatentPrior(as_kernel(self.kernel_, scale), offset)

    def _data(self) -> LabeledRows:
        x = torch.as_tensor(self.X_train_, device=self._device)
        labels = torch.as_tensor(self.y_train_, device=self._device)
        weights = torch.as_tensor(self.weights_, device=self._device)
        return LabeledRows(x, labels, weights, label_likelihood(len(self.classes_)))

    def _build_posterior(self) -> LaplacePosterior | SparseLatent:
        offset = torch.as_tensor(self.mean_, device=self._device)
        if self.method_ == "laplace":
            data = self._data().double()
            dual = torch.as_tensor(self.dual_coef_, device=self._device)
            return LaplacePosterior(self.kernel_, data.x, dual, offset, data.weights)
        points, precision, shift = (
            torch.as_tensor(array, device=self._device)
            for array in (self.inducing_points_, self.inducing_precision_, self.inducing_shift_)
        )
        return SparseLatent(self.kernel_, points, SparsePosterior(precision, shift), offset)

    def _posterior_now(self) -> LaplacePosterior | SparseLatent:
        if self.__dict__.get("_posterior") is None:  # what was loaded from a file has none
            self._posterior = self._build_posterior()
        return self._posterior

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**state, "_posterior": None} if "_posterior" in state else state

    def _read_features(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return read_features(self, X, dtype=torch.float64, device=self._device)

    @override
    def _probabilities(self, X: Any) -> Tensor:
        x = self._read_features(X)
        mean, covariance = self._posterior_now().moments(x)
        likelihood = label_likelihood(len(self.classes_))
        return likelihood.probabilities(mean, _root(covariance))


def _root(covariance: Tensor) -> Tensor:
    """R with ``R Rᵀ`` the covariance, which may be singular."""
    if covariance.shape[-1] == 1:
        return covariance.sqrt()
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0.0).sqrt().unsqueeze(-2)


def _squeeze(values: Tensor) -> Tensor:
    return values.squeeze(-1) if values.shape[-1] == 1 else values
