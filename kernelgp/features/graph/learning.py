"""The modulation of a graph kernel from targets at some nodes, by the marginal likelihood."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError, ConvergenceWarning
from kernelgp.features.graph.module import GraphModule

__all__ = ["learn_modulation"]

_ITERATIONS = 100


def learn_modulation(module: GraphModule, y: Any) -> tuple[NDArray[np.float64], float]:
    """The f and the noise variance that maximise the marginal likelihood, by L-BFGS.

    Parameters
    ----------
    module
        In float64; left as it is.
    y : array, shape (n,) or (n, k)
        NaN where a node has no target; several columns share the kernel. Of mean zero under the
        model: centre them.

    Raises
    ------
    ArgumentError
        If y is of another length, or nowhere or only partly known in a row.
    """
    index, targets = _read(y, module.n)
    start = np.concatenate([module.modulation.detach().numpy(), [math.log(_TYPICAL_NOISE)]])
    scale = float(targets.square().mean().sqrt())
    if scale == 0:
        raise ArgumentError("y", "targets that are all 0", "give some that vary")

    def objective(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        vector = torch.tensor(x, requires_grad=True)
        state = {"modulation": vector[:-1]}
        K = torch.func.functional_call(_Covariance(module), _named(state), (index,))
        value = _loss(K, vector[-1].exp(), targets / scale)
        (gradient,) = torch.autograd.grad(value, vector)
        return float(value.detach()), gradient.numpy()

    bounds = [(None, None)] * (len(start) - 1) + [(math.log(1e-6), math.log(1e3))]
    options = {"maxiter": _ITERATIONS}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    if found.nit >= _ITERATIONS:
        warnings.warn(
            f"learning the modulation: gradient {np.abs(found.jac).max():.1e} after {found.nit} "
            "iterations; give a smaller max_length, or more targets.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return found.x[:-1] * scale, float(np.exp(found.x[-1])) * scale**2


# Of targets of variance 1; the likelihood moves it.
_TYPICAL_NOISE = 0.1


class _Covariance(torch.nn.Module):
    """`GraphModule.covariance` as a forward, for a functional call."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, index: Tensor) -> Tensor:
        return self.module.covariance(index)


def _named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


def _loss(K: Tensor, noise: Tensor, targets: Tensor) -> Tensor:
    """Minus the log marginal likelihood, per node and output, less its constant."""
    n = len(K)
    L = torch.linalg.cholesky(K + noise * torch.eye(n, dtype=K.dtype))
    white = torch.linalg.solve_triangular(L, targets, upper=False)
    return white.square().mean() / 2 + L.diagonal().log().sum() / n


def _read(y: Any, n: int) -> tuple[Tensor, Tensor]:
    try:
        given = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError("y", "targets that are no numbers", "give numbers") from error
    if given.ndim not in (1, 2) or len(given) != n:
        remedy = f"give ({n},) or ({n}, k), NaN at nodes without a target"
        raise ArgumentError("y", f"shape {given.shape}", remedy)
    targets = given.reshape(n, -1)
    if np.isinf(targets).any():
        raise ArgumentError("y", "infinite targets", "remove them: NaN stands for none")
    known = ~np.isnan(targets)
    if (known.any(axis=1) != known.all(axis=1)).any():
        raise ArgumentError("y", "rows that are known in part", "give all outputs of a node")
    index = np.flatnonzero(known.all(axis=1))
    if len(index) < 2:
        given_text = f"{len(index)} nodes with a target"
        raise ArgumentError("y", given_text, "give targets at two nodes or more")
    return torch.from_numpy(index), torch.from_numpy(targets[index])
