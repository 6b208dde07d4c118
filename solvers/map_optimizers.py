"""The two optimisers of ``method="map"``, over tensors that stay where they are."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray
from torch import Tensor

from solvers.map_objective import START, Evaluation

__all__ = ["adam", "lbfgs"]

Array = NDArray[np.float64]

_MEMORY = 20
_LEARNING_RATE = 0.01
_OUT_OF_REACH = 1e300

Evaluate = Callable[[], tuple[Evaluation, list[Tensor]]]


def lbfgs(
    moving: Sequence[Tensor],
    upper: Sequence[Tensor | None],
    evaluate: Evaluate,
    step: Callable[[Evaluation], None],
    steps: int,
) -> None:
    """Up to `steps` steps of L-BFGS-B on the negated density.

    Parameters
    ----------
    moving
        Tensors, moved in place.
    upper
        For each of them an upper bound, or None.
    evaluate
        The density at where they are, and the gradient of its negative.
    step
        Called after every accepted step, with `moving` where it ended.
    """
    last: dict[str, Any] = {}

    def negated(z: Array) -> tuple[float, Array]:
        _assign(moving, z)
        try:
            evaluation, gradient = evaluate()
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            # A step into covariances that have no factor: the line search turns back.
            return _OUT_OF_REACH, np.zeros_like(z)
        last.update(z=z.copy(), evaluation=evaluation)
        return -evaluation.log_density.item(), _flatten(gradient)

    def accepted(z: Array) -> None:
        if not np.array_equal(z, last["z"]):
            negated(z)
        _assign(moving, z)
        step(last["evaluation"])

    bounds = [
        np.full(p.numel(), np.inf) if b is None else b.cpu().numpy()
        for p, b in zip(moving, upper, strict=True)
    ]
    highest = np.concatenate(bounds)
    scipy.optimize.minimize(
        negated,
        _flatten(moving),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, bound) for bound in highest],
        callback=accepted,
        options={"maxiter": steps, "maxfun": 20 * steps, "maxcor": _MEMORY, "ftol": 1e-13},
    )


def adam(
    moving: Sequence[Tensor],
    upper: Sequence[Tensor | None],
    evaluate: Evaluate,
    step: Callable[[Evaluation], None],
    steps: int,
) -> None:
    """As `lbfgs`; the step of the first tensor, the latent values, is in their own units."""
    # Adam's steps have a size of their own. The paper's suits values of order one; the Hessian
    # in ω, which comes first, is one where the misfit is START of the data, so ω is 1 / START.
    rates = [_LEARNING_RATE / START] + [_LEARNING_RATE] * (len(moving) - 1)
    groups = [{"params": [p], "lr": rate} for p, rate in zip(moving, rates, strict=True)]
    optimizer = torch.optim.Adam(groups)
    for _ in range(steps):
        evaluation, gradient = evaluate()
        step(evaluation)
        for parameter, slope in zip(moving, gradient, strict=True):
            parameter.grad = slope
        optimizer.step()
        with torch.no_grad():
            for parameter, bound in zip(moving, upper, strict=True):
                if bound is not None:
                    parameter.copy_(torch.minimum(parameter, bound))


def _flatten(tensors: Sequence[Tensor]) -> Array:
    return torch.cat([t.detach().reshape(-1) for t in tensors]).cpu().numpy()


@torch.no_grad()
def _assign(tensors: Sequence[Tensor], z: Array) -> None:
    start = 0
    for tensor in tensors:
        part = torch.as_tensor(z[start : start + tensor.numel()])
        tensor.copy_(part.reshape(tensor.shape))
        start += tensor.numel()
