"""`DKLGPClassifier`: classes with probabilities, on sparse inverse Cholesky factors."""

import time
from dataclasses import replace
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.estimators.base import (
    Scales,
    as_kernel,
    check_choice,
    check_count,
    give_back,
    read_features,
)
from kernelgp.estimators.class_names import ProbabilityMixin, read_labeled
from kernelgp.estimators.coordinates import COORDINATES, Coordinates
from kernelgp.estimators.storage import SaveMixin
from kernelgp.estimators.vecchia_fit import VecchiaReport
from kernelgp.estimators.vecchia_latent import (
    LatentFunction,
    LatentOptions,
    StoredLatent,
    fit_function,
    latent_report,
)
from kernelgp.kernels import Matern
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["DKLGPClassifier"]

Array = NDArray[np.float64]

# Rows whose probabilities are averaged at a time.
_BATCH = 2**15


class DKLGPClassifier(SaveMixin, ProbabilityMixin, BaseEstimator):
    """Gaussian process classification by Vecchia's approximation, for up to millions of rows.

    A latent function with a sparse inverse Cholesky prior is behind a logistic or probit link; its
    posterior is the normal one around the mode. Of more than two classes each has a function of
    its own, against all others, and their probabilities are scaled to add up to 1.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        None is a variance times Matérn-3/2 with a lengthscale for each input.
    likelihood : {"bernoulli", "probit"}, default="bernoulli"
        The logistic link, or that of the normal distribution function.
    n_neighbors : int, default=30
        Of each row, among those before it.
    n_neighbors_predict : int, default=120
        Rows that each prediction is given.
    method : {"newton", "svi"}, default="newton"
        How a latent function's posterior is found: its mode and Laplace's evidence, or the
        source's minibatches of an evidence lower bound, slower by orders of magnitude.
    variant : {"full", "diagonal", "global"}, default="full"
        Of "svi", for comparison: a posterior without correlations, or given the same few points
        everywhere.
    pattern : {"knn", "rho"}, default="knn"
        The nearest neighbors, or all points within `rho` times the distance that a point had when
        it was chosen, as in the source.
    rho : float, default=2.0
    mean : {"constant", "zero", "linear"}, default="constant"
        Of the latent functions.
    coordinates : {"euclidean", "space-time", "spherical"}, default="euclidean"
        As for `DKLGPRegressor`.
    optimizer : "lbfgs" or None, default="lbfgs"
        None keeps the hyperparameters given, and has mean zero.
    normalize_x : bool, default=True
        Whether the search starts from the spread of the inputs.
    device : str or torch device, default=None
        Of what is given back, and of the steps of "svi"; compiled code runs on the CPU.
    random_state : int, numpy Generator or RandomState, torch Generator or None, default=None
        Of samples of the rows.
    verbose : bool, default=False
        Whether to show progress, on a terminal only.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    kernel_ : Kernel, or list of them
        In the units of the inputs; a list of one for each class where there are more than two.
    log_marginal_likelihood_value_ : float
        Laplace's; the sum over the functions.
    report_ : VecchiaReport
        Of the fit; of more than two classes, of the last.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ArgumentError
        From `fit`, if an argument cannot be used.

    References
    ----------
    J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes
    via double Kullback-Leibler minimization*, ICML 2023.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.where(X.sum(axis=1) + rng.normal(size=500) > 0, "high", "low")
    >>> model = DKLGPClassifier(random_state=0).fit(X, y)
    >>> model.predict([[1.0, 1.0], [-1.0, -1.0]])
    array(['high', 'low'], dtype='<U4')
    """

    def __init__(
        self,
        kernel: Any = None,
        *,
        likelihood: str = "bernoulli",
        n_neighbors: int = 30,
        n_neighbors_predict: int = 120,
        method: str = "newton",
        variant: str = "full",
        pattern: str = "knn",
        rho: float = 2.0,
        mean: str = "constant",
        coordinates: str = "euclidean",
        optimizer: str | None = "lbfgs",
        normalize_x: bool = True,
        device: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
    ) -> None:
        self.kernel = kernel
        self.likelihood = likelihood
        self.n_neighbors = n_neighbors
        self.n_neighbors_predict = n_neighbors_predict
        self.method = method
        self.variant = variant
        self.pattern = pattern
        self.rho = rho
        self.mean = mean
        self.coordinates = coordinates
        self.optimizer = optimizer
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
        begun = time.perf_counter()
        check_choice("likelihood", self.likelihood, ["bernoulli", "probit"])
        check_choice("method", self.method, ["newton", "svi"])
        check_choice("variant", self.variant, ["full", "diagonal", "global"])
        check_choice("pattern", self.pattern, ["knn", "rho"])
        check_choice("mean", self.mean, ["constant", "zero", "linear"])
        check_choice("coordinates", self.coordinates, COORDINATES)
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        check_count("n_neighbors", self.n_neighbors, least=1)
        check_count("n_neighbors_predict", self.n_neighbors_predict, least=1)
        check_positive("rho", self.rho)
        data, classes, codes = read_labeled(self, X, y, sample_weight, device=self.device)
        x = data.x.double().cpu().numpy()
        where = Coordinates(self.coordinates)
        where.check(x)
        embedded = replace(data, x=torch.from_numpy(where.embed(x)))
        scales = Scales.of(embedded, normalize_x=self.normalize_x, normalize_y=False)
        weights = None if data.weights is None else data.weights.double().cpu().numpy()
        options = self._options(where, scales, data.x.device)
        ones = range(1, len(classes)) if len(classes) == 2 else range(len(classes))
        self._functions = [
            fit_function(options, x, (codes == one).astype(np.float64), weights, None)
            for one in ones
        ]
        self.classes_ = classes
        kernels = [function.fit.kernel for function in self._functions]
        self.kernel_ = kernels[0] if len(kernels) == 1 else kernels
        self._device = data.x.device
        reports = [latent_report(f.fit, len(x), options) for f in self._functions]
        self.log_marginal_likelihood_value_ = sum(r.log_marginal_likelihood for r in reports)
        self.report_: VecchiaReport = replace(reports[-1], seconds=time.perf_counter() - begun)
        return self

    def _options(self, where: Coordinates, scales: Scales, device: torch.device) -> LatentOptions:
        seed = torch.randint(2**31, (1,), generator=as_generator(self.random_state))
        return LatentOptions(
            kernel=as_kernel(self.kernel, scales.x_scale.cpu(), default=partial(Matern, 1.5)),
            is_default=self.kernel is None,
            likelihood=self.likelihood,
            learn_likelihood=True,
            mean=self.mean if self.optimizer is not None else "zero",
            coordinates=where,
            method=self.method,
            variant=self.variant,
            pattern=self.pattern,
            rho=float(self.rho),
            n_neighbors=int(self.n_neighbors),
            n_neighbors_predict=int(self.n_neighbors_predict),
            learns=self.optimizer is not None,
            x_scale=scales.x_scale.cpu().numpy(),
            seed=int(seed.item()),
            visible=None if self.verbose else False,
            device=device,
        )

    def predict_latent(self, X: ArrayLike, *, return_std: bool = False) -> Any:
        """Means of the latent functions, shape (m,), or (m, n_classes) with more than two.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std
            Whether their posterior standard deviations, of the same shape, come with them.
        """
        pairs = self._moments(X)
        mean, variance = (np.stack(part, axis=-1) for part in zip(*pairs, strict=True))
        if mean.shape[-1] == 1:
            mean, variance = mean[:, 0], variance[:, 0]
        found = give_back(torch.from_numpy(mean), X)
        if not return_std:
            return found
        return found, give_back(torch.from_numpy(np.sqrt(variance)), X)

    def _moments(self, X: Any) -> list[tuple[Array, Array]]:
        check_is_fitted(self)
        x = read_features(self, X, dtype=torch.float64, device="cpu").numpy()
        return [function.marginal(x) for function in self._functions]

    @override
    def _probabilities(self, X: Any) -> Tensor:
        columns = []
        for function, (mean, variance) in zip(self._functions_now(), self._moments(X), strict=True):
            like = function.fit.likelihood
            parts = [
                like.expect(mean[part], variance[part], np.zeros(len(mean[part])))[0]
                for part in (slice(s, s + _BATCH) for s in range(0, len(mean), _BATCH))
            ]
            columns.append(np.concatenate(parts))
        if len(columns) == 1:
            return torch.from_numpy(np.column_stack([1 - columns[0], columns[0]]))
        found = np.maximum(np.column_stack(columns), np.finfo(np.float64).tiny)
        return torch.from_numpy(found / found.sum(axis=1, keepdims=True))

    def _functions_now(self) -> list[LatentFunction]:
        check_is_fitted(self)
        return self._functions

    def _file_state(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(cast(Any, self.__getstate__()))
        if "_functions" in state:
            state["_functions"] = [function.stored() for function in state["_functions"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._functions = [
            f.restored() if isinstance(f, StoredLatent) else f
            for f in self.__dict__.get("_functions", [])
        ]
        if not self._functions:
            del self._functions
