"""`GPRegressor`: exact Gaussian process regression with scikit-learn's manners."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import (
    Training,
    as_dtype,
    check_array,
    check_choice,
    check_count,
    check_levels,
    give_back,
    read_features,
    read_noise,
    read_training,
)
from kernelgp.estimators.fitted import Fitted
from kernelgp.estimators.regression_fit import (
    add_rows,
    condition_again,
    fit_regression,
    hyperparameters,
    read_likelihood,
    total_evidence,
)
from kernelgp.estimators.regression_problem import Settings
from kernelgp.estimators.storage import SaveMixin
from kernelgp.gp.coregional import Coregional
from kernelgp.gp.student_t import StudentNoise
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["GPRegressor"]


class GPRegressor(SaveMixin, RegressorMixin, BaseEstimator):
    """Gaussian process regression: exact to 12 000 rows, from the rows near by beyond.

    Hyperparameters maximise the marginal likelihood (times gpytorch's priors, if the kernel has
    any). Inputs and targets are standardised inside; what is reported is in the user's units.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        None is a variance times Matérn-5/2 with a lengthscale for each input, and on a grid of
        more than 2 000 rows the product of one such kernel for each input. A part of a sum without
        a variance of its own has that of the targets. White noise in a sum is taken for the noise
        where that is learned.
    noise : "learn", float or array of shape (n,), default="learn"
        Variance of the noise in squared units of `y`: one, or one for each row.
    method : {"auto", "cholesky", "iterative", "vecchia", "kronecker", "toeplitz"}, default="auto"
        "cholesky" up to 6 000 rows, with a scaled RBF, Matern or RationalQuadratic kernel up to
        12 000, for then the search starts at the optimum of Vecchia's approximation; beyond, for
        these kernels, "vecchia": every row given 30 rows near it, every prediction 120, O(n);
        "iterative" (preconditioned conjugate gradients, stochastic Lanczos quadrature) for the
        others; "kronecker" for rows on a grid, cells may be missing, and a kernel that is a
        product over the columns; "toeplitz" for evenly spaced rows of one column and a
        stationary kernel. "auto" looks for structure above 2 000 rows.
    likelihood : "gaussian", "student_t" or a gpytorch likelihood of these, default="gaussian"
        Student's t takes outliers for what they are; its degrees of freedom are learned unless the
        noise is given, and what is maximised is a lower bound of the likelihood.
    mean : {"constant", "zero", "linear"}, default="constant"
        Its coefficients maximise the likelihood too.
    n_restarts : int, default=0
        Random starts of the optimiser besides the first.
    optimizer : "lbfgs" or None, default="lbfgs"
        None keeps the hyperparameters given, rescales nothing and has mean zero.
    outputs : {"independent", "correlated"}, default="independent"
        Several outputs share the kernel; "correlated" learns their covariance too, with noise of
        its own for each (coregionalisation, by Kronecker algebra: O(n³)).
    max_iterations : int, default=200
    normalize_x, normalize_y : bool, default=True
    warm_start : bool, default=False
        Whether a second `fit` starts from `kernel_` and `noise_`.
    device : str or torch device, default=None
        None is where X is.
    dtype : "float32" or "float64", default=None
        Of the points, and of the tiles where it iterates; None keeps that of X, and iterates in
        float32. Small matrices are factorised in float64 always.
    random_state : int, numpy Generator or RandomState, torch Generator or None, default=None
        Of subsamples, restarts and probes.
    verbose : bool, default=False
        Whether to show progress, on a terminal only.
    distributed : bool, default=False
        Whether the processes of the default `torch.distributed` group share the products where it
        iterates. All of them then make the same calls with the same data, and each has the whole
        answer. Without a group there is one process.

    Attributes
    ----------
    kernel_ : Kernel
        Of the standardised outputs where there are several of different scale.
    noise_ : float, or ndarray of shape (n,) or (n_outputs,)
        Variance of the noise.
    output_covariance_ : ndarray, shape (n_outputs, n_outputs)
        Of correlated outputs at a point, over the variance of `kernel_` there.
    degrees_of_freedom_ : float
        Of Student's t.
    mean_ : ndarray, shape (1 or 1 + d,) or (1 or 1 + d, n_outputs); empty for the zero mean
        Constant, and slopes by column.
    log_marginal_likelihood_value_ : float
        Of `y` as given.
    theta_ : ndarray, shape (p,)
        Logarithms of the learned hyperparameters, those of the kernel first.
    theta_names_ : tuple of str
    report_ : FitReport
        Method, seconds, what the optimiser did.
    X_train_, y_train_ : ndarray
        The rows used.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Raises
    ------
    ArgumentError
        From `fit`, if an argument cannot be used.

    Warns
    -----
    ConvergenceWarning
        From `fit`, if the optimiser ends at a bound, early, or was interrupted.
    JitterWarning
        From `fit`, if the covariance is singular: duplicate rows without noise.

    References
    ----------
    C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006.

    Examples
    --------
    >>> from kernelgp.kernels import Matern
    >>> X = np.linspace(0, 10, 40)[:, None]
    >>> gp = GPRegressor(2.0 * Matern(nu=2.5), noise=1e-4, random_state=0).fit(X, np.sin(X[:, 0]))
    >>> mean, std = gp.predict([[2.5]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(2.5)) < 0.01), gp.report_.method
    (True, 'cholesky')
    """

    def __init__(
        self,
        kernel: Any = None,
        *,
        noise: Any = "learn",
        method: str = "auto",
        likelihood: Any = "gaussian",
        mean: str = "constant",
        n_restarts: int = 0,
        optimizer: str | None = "lbfgs",
        outputs: str = "independent",
        max_iterations: int = 200,
        normalize_x: bool = True,
        normalize_y: bool = True,
        warm_start: bool = False,
        device: Any = None,
        dtype: Any = None,
        random_state: RandomState = None,
        verbose: bool = False,
        distributed: bool = False,
    ) -> None:
        self.kernel = kernel
        self.noise = noise
        self.method = method
        self.likelihood = likelihood
        self.mean = mean
        self.n_restarts = n_restarts
        self.optimizer = optimizer
        self.outputs = outputs
        self.max_iterations = max_iterations
        self.normalize_x = normalize_x
        self.normalize_y = normalize_y
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose
        self.distributed = distributed

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        gradients: ArrayLike | None = None,
        gradient_noise: float | str = "learn",
    ) -> Self:
        """Find hyperparameters and condition on the data.

        Parameters
        ----------
        X : array-like or frame, shape (n, d)
        y : array-like, shape (n,) or (n, n_outputs)
            NaN is a target that was not observed.
        sample_weight : array-like, shape (n,), optional
            A row of weight w counts as w rows: its noise is divided by w.
        gradients : array-like, shape (n, d), optional
            Of the function at the rows of X, in units of y by those of X; NaN where not observed.
        gradient_noise : float or "learn"
            Their variance, where the inputs have about the same spread; else learn it: in each
            column it is then one number over the squared spread of the inputs.
        """
        data = read_training(
            self, X, y, sample_weight, missing=True, dtype=self.dtype, device=self.device
        )
        settings = self._settings(data)
        slopes = _read_gradients(gradients, data)
        settings = replace(settings, gradient_noise=_read_variance(gradient_noise))
        data, slopes, settings = _observed(data, slopes, settings)
        return self._keep(fit_regression(settings, data, slopes), settings)

    def _settings(self, data: Training) -> Settings:
        check_choice(
            "method",
            self.method,
            ["auto", "cholesky", "iterative", "vecchia", "kronecker", "toeplitz"],
        )
        check_choice("mean", self.mean, ["constant", "zero", "linear"])
        check_choice("optimizer", self.optimizer, ["lbfgs", None])
        check_choice("outputs", self.outputs, ["independent", "correlated"])
        check_count("n_restarts", self.n_restarts, least=0)
        check_count("max_iterations", self.max_iterations, least=1)
        module, variances = read_likelihood(self.likelihood)
        noise = read_noise(self.noise, len(data.kept), data.kept)
        if variances is not None:
            noise = read_noise(variances, len(data.kept), data.kept)
        kernel = self.kernel
        if self.warm_start and hasattr(self, "kernel_"):
            kernel = self.kernel_
        return Settings(
            kernel=kernel,
            noise=noise,
            likelihood=module,
            gradient_noise=None,
            outputs=self.outputs,
            method=self.method,  # pyright: ignore[reportArgumentType] - checked above
            mean=self.mean,
            learns=self.optimizer is not None,
            n_restarts=self.n_restarts,
            max_iterations=self.max_iterations,
            normalize_x=bool(self.normalize_x),
            normalize_y=bool(self.normalize_y),
            dtype=as_dtype(self.dtype),
            generator=as_generator(self.random_state),
            visible=None if self.verbose else False,
            distributed=bool(self.distributed),
        )

    def _keep(self, fitted: Fitted, settings: Settings) -> Self:
        problem = fitted.problem
        self._fitted, self._fit_settings = fitted, settings
        self.kernel_ = fitted.kernel
        if isinstance(fitted.kernel, Coregional):
            self.kernel_ = fitted.kernel.kernel
            self.output_covariance_ = fitted.output_covariance()
        if isinstance(fitted.noise.module, StudentNoise):
            self.degrees_of_freedom_ = fitted.noise.module.degrees_of_freedom().item()
        self.noise_ = fitted.noise_in_units()
        self.mean_ = fitted.mean_in_units()
        parameters = hyperparameters(fitted.kernel, fitted.noise, problem)
        self.theta_, self.theta_names_ = parameters.theta().numpy(), parameters.names
        self.log_marginal_likelihood_value_ = fitted.report.log_marginal_likelihood
        self.report_ = fitted.report
        self.X_train_ = problem.data.x.cpu().numpy()
        self.y_train_ = problem.data.y.cpu().numpy()
        return self

    def predict(
        self,
        X: ArrayLike,
        *,
        return_std: bool = False,
        return_cov: bool = False,
        return_quantiles: Sequence[float] | None = None,
        latent: bool = False,
    ) -> Any:
        """Mean of the response, and how sure it is.

        Parameters
        ----------
        X : array-like, shape (m, d)
        return_std, return_cov
            Whether to give standard deviations, or covariances, besides; one of them.
        return_quantiles : sequence of float in (0, 1), optional
            Levels at which to give quantiles besides.
        latent
            Whether of the function alone, without the noise of the response. Where each row
            had a variance of its own, the response has their mean.

        Returns
        -------
        mean : ndarray or Tensor, shape (m,) or (m, n_outputs)
        std : of the same shape, if `return_std`
        cov : shape (m, m) or (m, m, n_outputs), if `return_cov`
        quantiles : shape (m, q) or (m, n_outputs, q), if `return_quantiles`
        """
        check_is_fitted(self)
        levels = check_levels(return_quantiles)
        if sum((bool(return_std), bool(return_cov), levels is not None)) > 1:
            remedy = "ask for one of std, cov and quantiles at a time"
            raise ArgumentError("return_std", "True beside another", remedy)
        x = self._read(X)
        fitted = self._fitted
        mean = self._give(fitted.mean(x), X)
        if return_std:
            return mean, self._give(fitted.variance(x, latent=latent).sqrt(), X)
        if return_cov:
            return mean, self._give(fitted.covariance(x, latent=latent), X)
        if levels is not None:
            return mean, self._give(fitted.quantiles(x, levels, latent=latent), X, extra=1)
        return mean

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: RandomState = 0,
        *,
        latent: bool = True,
        n_features: int = 4096,
    ) -> Any:
        """Draws of the function: each is one function, whatever the points it is asked at.

        A kernel that stayed gpytorch's own has no spectrum here: its draws are joint at the rows
        of X, O(m³), and others at other rows.

        Parameters
        ----------
        X : array-like, shape (m, d)
        n_samples
        random_state : int, numpy Generator or RandomState, torch Generator or None
            An int gives the same functions again, at any other points too.
        latent
            Whether the function alone; else with noise of the response added.
        n_features
            Of the prior's random features; its covariance is off by some ``n_features**-0.5``.

        Returns
        -------
        ndarray or Tensor, shape (m, n_samples) or (m, n_outputs, n_samples)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, least=1)
        check_count("n_features", n_features, least=2)
        x, generator = self._read(X), as_generator(random_state)
        drawn = self._fitted.sample(x, n_samples, n_features, generator, latent=latent)
        return self._give(drawn, X, extra=1)

    def log_marginal_likelihood(
        self,
        theta: ArrayLike | None = None,
        eval_gradient: bool = False,  # noqa: FBT001, FBT002 - scikit-learn's signature
        clone_kernel: bool = True,  # noqa: FBT001, FBT002
    ) -> Any:
        """``log p(y)`` of the targets as given, at other hyperparameters.

        Parameters
        ----------
        theta : array-like, shape (p,), optional
            Logarithms, in the order of `theta_names_`; None for the fitted ones. (A parameter
            of gpytorch's own stands as its raw value.)
        eval_gradient
            Whether to give the gradient by `theta` too.
        clone_kernel
            Without effect: the fitted kernel stays as it is.

        Returns
        -------
        value : float
        gradient : ndarray, shape (p,), if `eval_gradient`
        """
        del clone_kernel
        check_is_fitted(self)
        if theta is None and not eval_gradient:
            return self.log_marginal_likelihood_value_
        fitted, settings = self._fitted, self._fit_settings
        kernel, noise = deepcopy(fitted.kernel), deepcopy(fitted.noise)
        parameters = hyperparameters(kernel, noise, fitted.problem)
        if theta is not None:
            given = torch.as_tensor(np.asarray(theta, dtype=np.float64))
            if given.shape != (len(parameters),) or not bool(given.isfinite().all()):
                remedy = f"give {len(parameters)} finite numbers: {', '.join(parameters.names)}"
                raise ArgumentError("theta", f"shape {tuple(given.shape)}", remedy)
            parameters.assign_theta(given)
        models = fitted.problem.regressions(kernel, noise, settings, fitted.seed)
        parameters.clear_gradient()
        with torch.set_grad_enabled(bool(eval_gradient)):
            value = total_evidence(models, kernel, noise)
        if not eval_gradient:
            return value.item()
        value.backward()
        return value.item(), parameters.theta_gradient().numpy()

    def leave_one_out(self) -> Any:
        """Every target predicted from all the others, at the fitted hyperparameters.

        Returns
        -------
        LeaveOneOut
            Means, standard deviations, standardised residuals and log densities.
        """
        check_is_fitted(self)
        return self._fitted.leave_one_out(squeeze=self.y_train_.ndim == 1)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Condition on more rows, hyperparameters as they are; `fit` where there was none.

        Costs O(n² m) for m new rows where a Cholesky factor is known.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`, the new rows only.
        """
        if not hasattr(self, "_fitted"):
            return self.fit(X, y, sample_weight)
        names = {
            k: v for k, v in vars(self).items() if k in ("n_features_in_", "feature_names_in_")
        }
        read_features(self, X, dtype=torch.float64, device="cpu")
        old = self._fitted.problem.data
        new = read_training(
            self, X, y, sample_weight, missing=True, dtype=old.x.dtype, device=old.x.device
        )
        self.__dict__.update(names)
        if new.y.shape[1:] != old.y.shape[1:]:
            given = f"shape {tuple(new.y.shape)}"
            raise ArgumentError("y", given, f"give (m, *{tuple(old.y.shape[1:])}), as `fit` saw")
        settings = self._fit_settings
        if settings.noise is not None and settings.noise.dim():
            raise ArgumentError("noise", "one per row", "fit again, with the variances of all rows")
        if self._fitted.problem.gradients is not None:
            raise ArgumentError("gradients", "in the first fit", "fit again, with all rows")
        new, _, _ = _observed(new, None, settings)
        return self._keep(add_rows(self._fitted, new, settings), settings)

    def gpytorch_model(self) -> Any:
        """The same posterior as a gpytorch model, in float64, in evaluation mode.

        Returns
        -------
        gpytorch.models.ExactGP
            ``model(x)`` is the latent posterior, ``model.likelihood(model(x))`` the response's.
        """
        check_is_fitted(self)
        return self._fitted.gpytorch_model()

    def _read(self, X: Any) -> Tensor:
        data = self._fitted.problem.data
        return read_features(self, X, dtype=data.x.dtype, device=data.x.device)

    def _give(self, result: Tensor, X: Any, extra: int = 0) -> Any:
        """In the caller's form; outputs are the dimension before the last `extra` ones."""
        data = self._fitted.problem.data
        if data.y.dim() == 1:
            result = result.squeeze(-1 - extra)
        return give_back(result.to(data.x.dtype), X)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(cast(Any, super().__getstate__()))
        if "_fit_settings" in state:
            # A generator does not pickle; what is drawn after a fit has a seed of its own.
            state["_fit_settings"] = replace(state["_fit_settings"], generator=None)
        return state

    def _file_state(self) -> dict[str, Any]:
        """The state for a file: what the posterior follows from in the place of the posterior."""
        state = self.__getstate__()
        fitted = state.pop("_fitted", None)
        if fitted is not None:
            state["_parts"] = (
                fitted.kernel, fitted.noise, fitted.problem, fitted.report, fitted.seed
            )  # fmt: skip
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        parts = state.pop("_parts", None)
        super().__setstate__(state)
        if parts is not None:
            self._fitted = condition_again(self._fit_settings, *parts)
            kernel = self._fitted.kernel
            self.kernel_ = kernel.kernel if isinstance(kernel, Coregional) else kernel

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _observed(
    data: Training, slopes: Tensor | None, settings: Settings
) -> tuple[Training, Tensor | None, Settings]:
    """Without the rows at which nothing was observed.

    Raises
    ------
    ArgumentError
        If an output was never observed.
    """
    seen = ~data.y.reshape(len(data.y), -1).isnan()
    if not bool(seen.any(dim=0).all()):
        raise ArgumentError("y", "an output of NaN only", "give some targets of every output")
    rows = seen.any(dim=-1)
    if slopes is not None:
        rows = rows | (~slopes.isnan()).any(dim=-1)
        slopes = slopes[rows]
    if bool(rows.all()):
        return data, slopes, settings
    weights = None if data.weights is None else data.weights[rows]
    noise = settings.noise
    if noise is not None and noise.dim():
        settings = replace(settings, noise=noise[rows.cpu()])
    return replace(data, x=data.x[rows], y=data.y[rows], weights=weights), slopes, settings


def _read_gradients(gradients: Any, data: Training) -> Tensor | None:
    if gradients is None:
        return None
    if isinstance(gradients, Tensor):
        gradients = gradients.detach().cpu().numpy()
    array = check_array(
        gradients, dtype=np.float64, ensure_all_finite="allow-nan", input_name="gradients"
    )
    wanted = len(data.kept), data.x.shape[-1]
    if array.shape != wanted:
        given = f"shape {array.shape}"
        raise ArgumentError("gradients", given, f"give {wanted}, one row for each row of X")
    return torch.tensor(array).to(data.x.device)[data.kept]


def _read_variance(gradient_noise: Any) -> Tensor | None:
    if isinstance(gradient_noise, str):
        check_choice("gradient_noise", gradient_noise, ["learn"])
        return None
    return check_positive("gradient_noise", gradient_noise).reshape(())
