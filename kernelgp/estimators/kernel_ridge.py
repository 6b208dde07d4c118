"""Kernel ridge regression, from ten rows to a million."""

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import (
    Scales,
    Training,
    as_kernel,
    check_choice,
    give_back,
    read_features,
    read_training,
)
from kernelgp.estimators.storage import SaveMixin
from kernelgp.gp.ridge import RidgeProblem, choose_method, solve_ridge
from kernelgp.operators import KernelOperator
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["KernelRidge"]


class KernelRidge(SaveMixin, RegressorMixin, BaseEstimator):
    """``f(x) = k(x, X) (K + noise I)⁻¹ y``: the latent mean of a process of prior mean zero.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, default=None
        In the units of the inputs; nothing of it is learned. None is ARD Matérn-5/2 with
        lengthscales of half the spread of each input times the root of their number.
    noise : float or array-like, default=0.1
        The ridge: a variance beside those of the kernel, scikit-learn's `alpha`. One; one for
        each row, of shape (n,); or one for each output, of shape (1, k) or (k,), which solves
        for several regularisations where the outputs are copies.
    method : {"auto", "cholesky", "pcg", "sketch"}
        A dense factor, preconditioned conjugate gradients in tiles, or accelerated
        sketch-and-project, which needs no memory but can be stopped at any pass; "auto" goes by
        the number of rows.
    rtol
        Relative residual asked of every output; None is 1e-10 by a factor, 1e-6 by conjugate
        gradients and 1e-2 by sketch-and-project.
    max_iterations
        Products of conjugate gradients, passes of sketch-and-project.
    dtype, device
        None keeps those of X.
    random_state : int, Generator, RandomState or None
        Of the preconditioner and the sketches.

    Attributes
    ----------
    kernel_ : Kernel
    dual_coef_ : ndarray, shape (n,) or (n, k), float64
    X_fit_ : ndarray, shape (n, d)
    report_ : SolveReport
        With the true residual of every output; of the worst where noise differs by output.
    reports_ : list of SolveReport
        One for each regularisation.
    method_ : str

    Examples
    --------
    >>> X = np.linspace(0, 1, 50)[:, None]
    >>> model = KernelRidge(noise=1e-4).fit(X, np.sin(6 * X[:, 0]))
    >>> model.report_.converged, bool(abs(model.predict([[0.25]])[0] - np.sin(1.5)) < 1e-3)
    (True, True)
    """

    def __init__(
        self,
        kernel: Any = None,
        *,
        noise: Any = 0.1,
        method: Literal["auto", "cholesky", "pcg", "sketch"] = "auto",
        rtol: float | None = None,
        max_iterations: int = 1000,
        dtype: Any = None,
        device: Any = None,
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.noise = noise
        self.method = method
        self.rtol = rtol
        self.max_iterations = max_iterations
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Solve for the dual coefficients.

        Parameters
        ----------
        X : array-like, shape (n, d)
        y : array-like, shape (n,) or (n, k)
        sample_weight : array-like, shape (n,), optional
            A row of weight w has its noise divided by w.

        Warns
        -----
        ConvergenceWarning
            If the residual ends above `rtol`.
        JitterWarning
            If the matrix is singular: duplicate rows and no noise.
        """
        check_choice("method", self.method, ["auto", "cholesky", "pcg", "sketch"])
        check_positive("max_iterations", self.max_iterations)
        if self.rtol is not None:
            check_positive("rtol", self.rtol)
        data = read_training(self, X, y, sample_weight, dtype=self.dtype, device=self.device)
        targets = data.y.reshape(len(data.y), -1)
        noise = _read_ridge(self.noise, data, targets.shape[1])
        if data.weights is not None:
            noise = noise / data.weights.double().cpu().unsqueeze(-1)
        scales = Scales.of(data, normalize_x=True, normalize_y=False)
        kernel = as_kernel(self.kernel, scales.x_scale)
        method = choose_method(len(data.x), data.x.dtype) if self.method == "auto" else self.method
        if method == "sketch" and not bool((noise > 0).all()):
            raise ArgumentError("noise", "0", 'give a positive one, or method="pcg"')
        solution, reports = solve_ridge(
            RidgeProblem(kernel, data.x, targets, noise.to(data.x.device)),
            method,
            rtol=None if self.rtol is None else float(self.rtol),
            max_iterations=int(self.max_iterations),
            generator=as_generator(self.random_state),
        )
        self.method_, self.kernel_ = reports[0].method, kernel
        self.X_fit_ = data.x.cpu().numpy()
        self.dual_coef_ = solution.reshape(data.y.shape).cpu().numpy()
        self.reports_ = reports
        self.report_ = max(reports, key=lambda report: float(report.residual.max()))
        self._device = data.x.device
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """The function at the rows of `X`, shape (m,) or (m, k), streamed over tiles."""
        check_is_fitted(self)
        fitted = torch.as_tensor(self.X_fit_, device=self._device)
        x = read_features(self, X, dtype=fitted.dtype, device=self._device)
        dual = torch.as_tensor(self.dual_coef_, device=self._device)
        with torch.no_grad():
            product = KernelOperator(self.kernel_, x, fitted).matmul(dual.to(x))
        return give_back(product, X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _read_ridge(noise: Any, data: Training, outputs: int) -> torch.Tensor:
    """Variances that broadcast with (rows left, outputs)."""
    values = check_positive("noise", noise, zero=True).detach().cpu()
    n = len(data.kept)
    if values.numel() == 1:
        return values.reshape(1, 1)
    if values.shape in ((n,), (n, 1)) and not (n == outputs and values.dim() == 1):
        return values.reshape(n, 1)[data.kept.cpu()]
    if values.shape in ((outputs,), (1, outputs)) and not (n == outputs and values.dim() == 1):
        return values.reshape(1, outputs)
    remedy = f"give one variance, ({n},) for the rows, or (1, {outputs}) for the outputs"
    raise ArgumentError("noise", f"shape {tuple(values.shape)}", remedy)
