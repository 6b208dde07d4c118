"""A solution on a grid as an xarray data set, ready for netCDF."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

import kernelgp
from solvers.collocation_posterior import CollocationPosterior
from solvers.masked import blanked, exact_on_grid, source_on_grid
from solvers.posterior import GPPosterior
from solvers.problem import Problem
from solvers.protocol import Posterior, Values, has_deviation, posterior_of

if TYPE_CHECKING:
    import xarray

__all__ = ["deviation_on_grid", "to_dataset", "to_system_dataset"]

Array = NDArray[np.float64]


def to_dataset(problem: Problem, posterior: Posterior, grid: Sequence[int]) -> "xarray.Dataset":
    """Mean, deviation, source and exact solution on a uniform grid."""
    # xarray brings pandas along, a second of import that only this needs.
    import xarray  # noqa: PLC0415

    axes, orders = problem.domain.uniform_axes(grid), (0,) * problem.dimension
    name = problem.function
    mean = blanked(problem, axes, posterior.mean_on_grid(axes, orders))
    variables: dict[str, tuple[NDArray[Any], str]] = {"mean": (mean, f"posterior mean of {name}")}
    if has_deviation(posterior):
        std = blanked(problem, axes, deviation_on_grid(posterior, axes))
        variables["std"] = (std, f"posterior standard deviation of {name}")
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


def to_system_dataset(
    problem: Problem, posterior: Posterior, grid: Sequence[int]
) -> "xarray.Dataset":
    """Mean, deviation and exact value of every function and field, and unknown constants."""
    import xarray  # noqa: PLC0415 - as in `to_dataset`

    axes, orders = problem.domain.uniform_axes(grid), (0,) * problem.dimension
    joint = posterior if isinstance(posterior, CollocationPosterior) else None
    variables: dict[str, tuple[Any, ...]] = {}
    for name in [*problem.functions, *(joint.fields if joint else [])]:
        own = posterior_of(posterior, name)
        mean = blanked(problem, axes, own.mean_on_grid(axes, orders))
        variables[f"{name}_mean"] = mean, f"posterior mean of {name}"
        if has_deviation(own):
            std = blanked(problem, axes, deviation_on_grid(own, axes))
            variables[f"{name}_std"] = std, f"posterior standard deviation of {name}"
        if name in problem.exact_formulas:
            mesh = np.meshgrid(*axes, indexing="ij")
            exact = problem.exact(np.stack([c.ravel() for c in mesh], axis=1), of=name)
            variables[f"{name}_exact"] = exact.reshape(mean.shape), f"exact {name}"
    data = {key: (problem.axes, v, _attributes(what)) for key, (v, what) in variables.items()}
    for name in joint.intervals if joint else []:
        found = cast(CollocationPosterior, joint).constant(name)
        data[name] = (), found.mean, _attributes(f"posterior mean of {name}")
        data[f"{name}_std"] = (), found.std, _attributes(f"posterior standard deviation of {name}")
    text = "; ".join(equation.text for equation in problem.equations)
    return xarray.Dataset(
        data,
        coords={
            axis: (axis, x, _attributes(f"coordinate {axis}"))
            for axis, x in zip(problem.axes, axes, strict=True)
        },
        attrs={
            "title": f"Solution of {text}",
            "equation": text,
            "domain": repr(problem.domain),
            "conditions": ", ".join(map(repr, problem.conditions)),
            "solver": str(posterior.report),
            "source": f"kernelgp {kernelgp.__version__}",
        },
    )


def deviation_on_grid(posterior: Values, axes: Sequence[Array]) -> Array:
    """The standard deviation on the product of the axes; `GPPosterior.std` says how exact."""
    orders = (0,) * len(axes)
    if isinstance(posterior, GPPosterior):
        return posterior.std_on_grid(axes, orders)
    points = np.stack([c.ravel() for c in np.meshgrid(*axes, indexing="ij")], axis=1)
    return posterior.std(points, orders).reshape([len(x) for x in axes])


def _attributes(what: str) -> dict[str, Any]:
    return {"long_name": what, "units": "1"}
