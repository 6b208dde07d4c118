"""``GPSolver(method="map")``: the paper's own formulation, kept to compare with.

For a linear equation and a given kernel the grid values have a closed form, which the direct
method computes to rounding. Here they are searched for, together with the kernel and two
precisions, to the 1e-4 or so that a jitter of 1e-6 leaves.

References
----------
S. Fang, M. Cooley, D. Long, S. Li, R. Kirby and S. Zhe, *Solving High Frequency and Multi-Scale
PDEs with Gaussian Processes*, ICLR 2024.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from kernelgp.errors import ArgumentError
from kernelgp.kernels import SpectralMixture
from solvers.axis_basis import Component
from solvers.journal import SILENT, Journal
from solvers.map_equation import JITTER, GridEquation, data_sizes, discretize
from solvers.map_objective import MapObjective
from solvers.map_posterior import MapPosterior
from solvers.map_report import MapOptions, MapReport
from solvers.map_search import maximize
from solvers.needs import Need
from solvers.problem import Problem
from solvers.report import SolutionReport
from solvers.resolution import measure
from solvers.samples import sample_problem
from solvers.search import complain_if_unresolved

__all__ = ["solve_map"]

# Between the grid's points the residual is a few times what it is on them.
_BETWEEN = 10


def solve_map(
    problem: Problem,
    grid: Sequence[int],
    components: Sequence[Sequence[Component]],
    *,
    envelope: str = "gaussian",
    nu: float = 2.5,
    options: MapOptions | None = None,
    device: torch.device | str = "cpu",
    visible: bool | None = None,
    journal: Journal = SILENT,
) -> MapPosterior:
    """The most probable solution on a uniform grid.

    Parameters
    ----------
    problem : Problem
    grid : sequence of int
        Points along each axis.
    components
        For each axis the spectral components to start from; of their weights the ratios count.
    envelope, nu
        As for `SpectralMixture`.
    options : MapOptions, optional
    device
        Where the search runs; the posterior is on the CPU.
    visible
        Whether to show progress; None is on a terminal only.
    journal
        Where the search is recorded.

    Returns
    -------
    MapPosterior
        `search` says where the search ended; the log marginal likelihood of its `report` is
        NaN, since the grid values are maximised over, not integrated out.

    Raises
    ------
    ArgumentError
        If the envelope is not smooth enough for the equation, a condition is missing or not
        on values alone, data are not finite, or the grid is too coarse for them.

    Warns
    -----
    ConvergenceWarning
        If source and conditions are not met to ``options.rtol``, or the search was
        interrupted; the best so far is then returned.

    Examples
    --------
    >>> from solvers import Box
    >>> problem = Problem.from_exact("u_xx = f", Box(x=(0, 1)), "sin(20*x)")
    >>> components = [Component(0.0, 0.35), Component(3.2, 0.35)]
    >>> posterior = solve_map(problem, (60,), [components])
    >>> x = np.linspace(0, 1, 7)[:, None]
    >>> bool(np.abs(posterior.mean(x) - np.sin(20 * x[:, 0])).max() < 1e-3)
    True
    """
    _check_smoothness(problem, envelope, nu)
    problem.require({Need.SLOPES}, "method='map'")
    problem.check_conditions()
    kernels = [_kernel(envelope, nu, axis).to(device) for axis in components]
    equation = discretize(problem, grid, torch.device(device))
    # In units of the solution: the jitter and the starting weights are absolute.
    scale = data_sizes(equation, kernels)[0].item()
    source, values = equation.source / scale, equation.values / scale
    objective = MapObjective(dataclasses.replace(equation, source=source, values=values), kernels)
    search = maximize(objective, options or MapOptions(), visible=visible, journal=journal)
    on_cpu = GridEquation(
        tuple(x.cpu() for x in equation.axes),
        equation.terms,
        source.cpu(),
        equation.mask.cpu(),
        values.cpu(),
    )
    kernels = [kernel.cpu() for kernel in kernels]
    whitened, precisions = objective.whitened().detach().cpu(), objective.log_precisions.detach()
    report = _solution_report(problem, envelope, tuple(grid), kernels, scale, search)
    posterior = MapPosterior(on_cpu, kernels, whitened, precisions.cpu(), scale, report, search)
    # What is met on the grid may be missed everywhere else: a fast wave passes for a slow one.
    samples, rng = sample_problem(problem, tuple(grid)), np.random.default_rng(0)
    resolution = measure(problem, samples, posterior.mean_on_grid, rng)
    posterior.report = dataclasses.replace(
        report, residual=resolution.residual, boundary_error=resolution.boundary_error
    )
    expected = resolution.worst <= _BETWEEN * search.rtol
    if search.converged and not search.interrupted and not expected:
        complain_if_unresolved(problem, samples, resolution, smooth=False)
    return posterior


def _solution_report(
    problem: Problem,
    envelope: str,
    grid: tuple[int, ...],
    kernels: Sequence[SpectralMixture],
    scale: float,
    search: MapReport,
) -> SolutionReport:
    variance = math.prod(kernel.variance.item() for kernel in kernels)
    learned = [np.abs(kernel.frequencies.detach().numpy()[:, 0]) for kernel in kernels]
    return SolutionReport(
        method="map",
        kernel=envelope,
        grid=grid,
        rank=grid,
        # A frequency of zero is the trend, and stays at zero.
        frequencies={a: np.sort(f[f > 0]) for a, f in zip(problem.axes, learned, strict=True)},
        band=dict.fromkeys(problem.axes, 0.0),
        residual=search.residual,
        boundary_error=search.boundary,
        log_marginal_likelihood=math.nan,
        amplitude=scale * math.sqrt(variance),
        nugget=JITTER,
        prior=1,
        seconds=search.seconds,
    )


def _kernel(envelope: str, nu: float, components: Sequence[Component]) -> SpectralMixture:
    weights = np.array([c.weight for c in components])
    return SpectralMixture(
        envelope,  # pyright: ignore[reportArgumentType]  # checked by its constructor
        [c.frequency for c in components],
        [c.lengthscale for c in components],
        list(weights / weights.sum()),
        nu,
    )


def _check_smoothness(problem: Problem, envelope: str, nu: float) -> None:
    order = max(problem.orders)
    smooth = {"gaussian": 8, "matern52": 4, "student": int(2 * nu) - 1}[envelope]
    # The size of the source takes the variance of the operator: twice its order.
    if smooth < 2 * order:
        given = f"{envelope!r}, which has {smooth} derivatives, for an equation of order {order}"
        raise ArgumentError("kernel", given, f"give one with {2 * order}, such as 'gaussian'")
