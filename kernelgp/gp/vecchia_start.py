"""Where the search for hyperparameters begins: at the optimum of Vecchia's approximation.

A pass over all rows costs O(n m³) where an exact evidence costs O(n³): 3 ms against 0.5 s at
n = 2 000. Its curvature there, observed on all rows, makes the first exact step one of Newton's.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernelgp.gp.hyperparameters import Hyperparameters
from kernelgp.gp.optimize import as_objective, curvature
from kernelgp.gp.regression import NoiseVariance, Regression
from kernelgp.gp.vecchia import LEAST_RATIO, VecchiaCovariance, is_compiled, read_inputs
from kernelgp.kernels import ScaledKernel
from kernelgp.progress import progress_bar
from kernelgp.vecchia.fit import VecchiaFit, fit_vecchia
from kernelgp.vecchia.likelihood import Evaluation, Parameters

__all__ = ["can_start", "start_by_vecchia"]

_PERTURBATION = 1.5  # of the logarithms, in restarts
_CURVATURE_NEIGHBORS = 60


def can_start(kernel: Any) -> bool:
    """Whether a kernel is a compiled one whose numbers can be set."""
    if not is_compiled(kernel):
        return False
    while isinstance(kernel, ScaledKernel):
        kernel = kernel.base_kernel
    return hasattr(kernel, "raw_lengthscale")


def start_by_vecchia(
    model: Regression,
    kernel: Any,
    noise: Tensor,
    module: NoiseVariance | None,
    parameters: Hyperparameters,
    *,
    n_neighbors: Sequence[int],
    n_restarts: int,
    least_gain: float,
    seed: int,
    visible: bool | None,
) -> Tensor | None:
    """Move kernel and noise to the optimum, and give the inverse Hessian there.

    Parameters
    ----------
    model : Regression, of one output
    kernel : Kernel, that is compiled (`is_compiled`)
    noise : Tensor, shape () or (n,)
        In the user's units, as it is now.
    module
        Of the noise; None where it is fixed.
    parameters : Hyperparameters
        Of kernel and noise. Those that are not learned stay as they are.
    n_neighbors
        Of one fit after another, each starting where the last one ended.
    n_restarts
        Random starts besides the present one.
    least_gain
        What a step of it must promise, in log units.

    Returns
    -------
    Tensor, shape (p, p), or None
        Of minus the log evidence by `parameters.vector`; None where rows are too nearly one for
        it, and nothing was moved.

    Raises
    ------
    KeyboardInterrupt
        The likeliest step so far is left in the modules.
    """
    low, high = parameters.limits()
    rng = np.random.default_rng(seed)
    given = read_inputs(kernel)
    row_noise = model.row_noise(noise.detach())
    common = row_noise.mean().item()
    relative = (row_noise / common).cpu().numpy() if common > 0 else 1.0
    covariance = VecchiaCovariance(model.x, model.unit, seed, _CURVATURE_NEIGHBORS)
    y, basis = model.y[:, 0].cpu().numpy(), model.training_basis().cpu().numpy()
    rows = covariance.rows(y, basis, np.broadcast_to(relative, y.shape))
    rows = replace(rows, X=given.seen(rows.X))
    start = given.parameters(max(common, LEAST_RATIO), model.unit)
    if module is not None:
        start = replace(start, noise=None)
    first, *later = n_neighbors
    steps: list[Evaluation] = []

    def settle(found: Evaluation) -> Tensor:
        """Set the modules to it, and give their vector."""
        _assign(kernel, found.parameters, found.scale * model.unit)
        if module is not None:
            _set(module, "noise", max(found.scale * found.parameters.ratio, 1e-12) * model.unit)
        vector = parameters.vector().clamp(low, high)
        parameters.assign(vector)
        return vector

    with progress_bar("start", visible=visible) as bar:

        def keep(now: Evaluation) -> None:
            steps.append(now)
            slope = np.abs(now.gradient).max()
            bar.advance(log_likelihood=now.log_likelihood, gradient=slope)

        fit = partial(
            fit_vecchia,
            rows,
            least_gain=least_gain,
            rng=rng,
            on_step=keep,
        )
        tries: list[VecchiaFit] = []
        try:
            for i in range(n_restarts + 1):
                at = start.free()
                if i:
                    at = at + _PERTURBATION * rng.standard_normal(len(at))
                tries.append(fit(start.at(at), n_neighbors=first))
            best = max(tries, key=lambda one: one.evaluation.log_likelihood).evaluation
            for m in later:
                best = fit(best.parameters, from_sample=False, n_neighbors=m).evaluation
        except KeyboardInterrupt:
            if steps:
                settle(max(steps, key=lambda step: step.log_likelihood))
            raise
    if not math.isfinite(best.log_likelihood):
        return None
    vector = settle(best)
    approximate = replace(model, covariance=covariance)

    def loss() -> Tensor:
        now = noise if module is None else module.noise.double().reshape(())
        return -approximate.log_evidence(kernel, now)

    try:
        hessian = curvature(as_objective(parameters, loss), vector)
    finally:
        parameters.assign(vector)
    return torch.linalg.inv(hessian)


def _assign(kernel: Any, found: Parameters, outputscale: float) -> None:
    """Set what is learned of a scaled kernel."""
    while isinstance(kernel, ScaledKernel):
        inner = math.prod(_scales(kernel.base_kernel))
        _set(kernel, "outputscale", outputscale / inner)
        outputscale, kernel = inner, kernel.base_kernel
    _set(kernel, "lengthscale", found.lengthscale)
    if hasattr(kernel, "raw_alpha"):
        _set(kernel, "alpha", found.alpha)


def _set(module: Any, name: str, value: Any) -> None:
    """A value where it is learned; its reference stays, for bounds are relative to it."""
    raw = getattr(module, f"raw_{name}")
    if raw.requires_grad:
        constraint = module.constraint_for_parameter_name(f"raw_{name}")
        wanted = torch.as_tensor(value, dtype=raw.dtype).reshape(raw.shape)
        with torch.no_grad():
            raw.copy_(constraint.inverse_transform(wanted))


def _scales(kernel: Any) -> list[float]:
    if not isinstance(kernel, ScaledKernel):
        return []
    return [kernel.outputscale.item(), *_scales(kernel.base_kernel)]
