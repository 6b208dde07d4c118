"""A solution on a grid as an xarray data set, ready for netCDF."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import kernelgp
from solvers.masked import blanked, exact_on_grid, source_on_grid
from solvers.posterior import GPPosterior
from solvers.problem import Problem
from solvers.protocol import Posterior, has_deviation

if TYPE_CHECKING:
    import xarray

__all__ = ["deviation_on_grid", "to_dataset"]

Array = NDArray[np.float64]

# In 1-D an exact deviation takes a third of a millisecond, in 2-D several; a sample takes a
# solve and serves any grid.
_MAX_EXACT = {1: 5_000}
_SAMPLES, _BATCH = 64, 16


def to_dataset(problem: Problem, posterior: Posterior, grid: Sequence[int]) -> "xarray.Dataset":
    """Mean, deviation, source and exact solution on a uniform grid."""
    # xarray brings pandas along, a second of import that only this needs.
    import xarray  # noqa: PLC0415

    axes, orders = problem.domain.uniform_axes(grid), (0,) * problem.dimension
    name = problem.function
    mean = blanked(problem, axes, posterior.mean_on_grid(axes, orders))
    variables: dict[str, tuple[NDArray[Any], str]] = {"mean": (mean, f"posterior mean of {name}")}
    if has_deviation(posterior):
        std, how = deviation_on_grid(posterior, axes)
        std = blanked(problem, axes, std)
        variables["std"] = (std, f"posterior standard deviation of {name}, {how}")
    if problem.source_is_function or problem.source_shape == tuple(grid):
        variables["source"] = (source_on_grid(problem, axes), "right side of the equation")
    if problem.has_exact:
        variables["exact"] = (exact_on_grid(problem, axes), f"exact solution {name}")
    if problem.domain.region is not None:
        inside = problem.domain.contains_on_grid(axes)
        variables["inside"] = (inside, "whether the point is in the domain's region")
    # A problem states no units, so every quantity is a pure number.
    return xarray.Dataset(
        {key: (problem.axes, v, _attributes(what)) for key, (v, what) in variables.items()},
        coords={
            axis: (axis, x, _attributes(f"coordinate {axis}"))
            for axis, x in zip(problem.axes, axes, strict=True)
        },
        attrs={
            "title": f"Solution of {problem.equation.text}",
            "equation": problem.equation.text,
            "domain": repr(problem.domain),
            "conditions": ", ".join(map(repr, problem.conditions)),
            "solver": str(posterior.report),
            "source": f"kernelgp {kernelgp.__version__}",
        },
    )


def deviation_on_grid(posterior: Posterior, axes: Sequence[Array]) -> tuple[Array, str]:
    """The standard deviation on the product of the axes, and how it was found.

    For a direct solve and many points it is the root mean square of 64 draws around the mean,
    which is right to 9 % (one standard error).
    """
    shape, orders = tuple(len(x) for x in axes), (0,) * len(axes)
    few = math.prod(shape) <= _MAX_EXACT.get(len(axes), 200)
    if few or not isinstance(posterior, GPPosterior):
        points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
        return posterior.std(points, orders).reshape(shape), "exact"
    generator = torch.Generator().manual_seed(0)
    mean, square = posterior.mean_on_grid(axes, orders)[..., None], np.zeros(shape)
    for _ in range(_SAMPLES // _BATCH):
        drawn = posterior.sample_on_grid(axes, _BATCH, generator)
        square += np.square(drawn - mean).sum(axis=-1)
    return np.sqrt(square / _SAMPLES), f"from {_SAMPLES} samples"


def _attributes(what: str) -> dict[str, Any]:
    return {"long_name": what, "units": "1"}
