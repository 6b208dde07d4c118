"""Solve a PDE with a Gaussian process whose frequencies are read from the data.

References
----------
S. Fang, M. Cooley, D. Long, S. Li, R. Kirby and S. Zhe, *Solving High Frequency and Multi-Scale
PDEs with Gaussian Processes*, ICLR 2024, for the prior; the solve is direct.
"""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning
from kernelgp.progress import progress_bar
from kernelgp.random import RandomState, as_generator
from solvers.calibration import calibrate
from solvers.collocation_points import CollocationPoints, read_collocation
from solvers.deviation import NUGGET
from solvers.divergence import DivergenceError
from solvers.given_frequencies import check_given
from solvers.journal import Journal, fingerprint, open_journal
from solvers.line_posterior import LinePosterior
from solvers.line_search import search_line
from solvers.map_posterior import MapPosterior
from solvers.map_solver import solve_map
from solvers.needs import Need
from solvers.posterior import GPPosterior
from solvers.prior import PriorShape
from solvers.problem import Problem
from solvers.protocol import Posterior
from solvers.report import SolutionReport
from solvers.row_solver import ROW_NEEDS, solve_by_rows
from solvers.samples import Samples, sample_problem
from solvers.seams import check_seams
from solvers.search import find_frequencies, search_prior
from solvers.sited import with_arrays_at_points
from solvers.slab_journal import march
from solvers.slabs import check_slabs
from solvers.slabs.layout import may_march
from solvers.solution import Solution
from solvers.storage import identify
from solvers.threads import one_thread

__all__ = ["GPSolver"]

Kernel = Literal["gaussian", "student", "matern52"]
Method = Literal["direct", "map"]

_FEWEST_POINTS = 4
# The highest order of an equation that the envelope is smooth enough for; equations end at 8.
_HIGHEST_ORDER = {"gaussian": 8, "student": 2, "matern52": 2}
# What the map method and rough kernels solve beyond the plain; the former says more itself.
_ROUGH = frozenset({Need.SLOPES})
# What it does where the equation is linear with constant coefficients only.
_OF_CONSTANTS = frozenset({Need.FREE_CONSTANT})
_FREE_CONSTANT = (
    "solve: equation and conditions hold for any constant added to the solution; it was given the "
    "mean zero. Give a value on a face, or an observation, to fix it otherwise."
)
_MAP_SHAPE = PriorShape(2.0, 2.0)


class GPSolver:
    """A Gaussian process solver for PDEs on boxes and parts of them.

    Deviations of nonlinear equations are those of the equation linearised at the solution.

    Parameters
    ----------
    kernel : {"gaussian", "student", "matern52"}
        The envelope of the spectral mixture. The Gaussian one is smooth and far more
        accurate; the others are Matérn-5/2, for solutions with few derivatives.
    method : {"direct", "map"}
        One structured solve, or the search of the original paper, kept for comparison.
    frequencies : mapping of axis to sequence of floats, optional
        In cycles per unit of that axis; overrides what is found for it.
    dtype : torch.dtype
        The precision needed, float32 or float64; both are computed and given back in float64,
        which the graded bases need.
    device : optional
        The direct method computes on the CPU; for ``"map"``, where the search runs.
    random_state : int, numpy or torch generator, or None
        For the points at which the solution is checked.
    verbose : bool
        Whether to print the report.

    Examples
    --------
    >>> from solvers import Box, Problem
    >>> made = Problem.from_exact("u_xx = f", Box(x=(0, 6)), "sin(6*x)*cos(100*x)")
    >>> solution = GPSolver().solve(made, grid=(400,))
    >>> bool(solution.error() < 1e-9)
    True
    >>> [round(2 * math.pi * f) for f in solution.report.frequencies["x"]]
    [94, 106]
    """

    #: What it solves beyond linear second-order equations with values on the faces.
    supported: ClassVar[frozenset[Need]] = frozenset(
        {
            Need.SLOPES,
            Need.PERIODIC,
            Need.HIGH_ORDER,
            Need.FREE_CONSTANT,
            Need.VARIABLE,
            Need.NONLINEAR,
        }
        | ROW_NEEDS
    )

    def __init__(
        self,
        kernel: Kernel = "gaussian",
        *,
        method: Method = "direct",
        frequencies: Mapping[str, Sequence[float]] | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        random_state: RandomState = 0,
        verbose: bool = False,
    ) -> None:
        if kernel not in _HIGHEST_ORDER:
            raise ArgumentError("kernel", repr(kernel), "give 'gaussian', 'student' or 'matern52'")
        if method not in ("direct", "map"):
            raise ArgumentError("method", repr(method), "give 'direct' or 'map'")
        if dtype not in (torch.float32, torch.float64):
            raise ArgumentError("dtype", str(dtype), "give torch.float32 or torch.float64")
        place = torch.device("cpu" if device is None else device)
        if method == "direct" and place.type != "cpu":
            remedy = "leave it out: QZ has no other home, and it takes a fraction of a second"
            raise ArgumentError("device", str(place), remedy)
        self.kernel: Kernel = kernel
        self.method: Method = method
        self.frequencies = dict(frequencies or {})
        self.dtype, self.device = dtype, place
        self.random_state, self.verbose = random_state, verbose

    def solve(
        self,
        problem: Problem,
        grid: Sequence[int] | None = None,
        *,
        points: Any = None,
        slabs: int | str | None = None,
        checkpoint: str | Path | None = None,
    ) -> Solution:
        """The posterior of the solution, given the equation on a uniform grid or at points.

        Where no tones explain the data and these are functions, it is given on as many Chebyshev
        points instead.

        Parameters
        ----------
        problem : Problem
        grid : sequence of int
            The number of points along each axis, ends included. Of a domain with a region those
            inside count.
        points : array or tensor, shape (n, d), optional
            Instead of a grid: where the equation holds, in no order. Data given as arrays then
            have one value for each point. Conditions are held where this solver chooses.
        slabs : int or "auto", optional
            Into how many parts of its time an initial-value problem in one space dimension is
            cut, each of which starts where the one before ends. For long times, fronts and
            systems; the axis of space is stretched where the solution becomes steep. The grid's
            points in time are those of all slabs; "auto" gives each a dozen. None is one solve, and
            slabs where that finds no solution of a nonlinear equation.
        checkpoint : path, optional
            A file to write every finished step into: rungs of the ladder of priors, steps of
            Newton's method, of Gauss-Newton and of the search of ``method="map"``, slabs. The
            same call goes on from there after an interruption. It stays when the solve has ended.

        Returns
        -------
        Solution

        Raises
        ------
        CheckpointError
            If that file is truncated or damaged, or of another problem, grid or solver.
        ArgumentError
            If not one of `grid` and `points` is given, points are outside, twice there or too
            few, the kernel is not smooth enough for the equation, a condition is missing, the
            grid is too coarse for the frequencies of the data, or the equation has no unique
            solution.
        DivergenceError
            If Newton's method finds no solution. It has the `history` of residuals, and what was
            good until then as `last`.

        Warns
        -----
        ConvergenceWarning
            If equation or conditions are not met between the grid's points.
        """
        started = time.perf_counter()
        if not isinstance(problem, Problem):
            raise ArgumentTypeError("problem", type(problem).__name__, "give a solvers.Problem")
        where = read_collocation(problem.domain, grid, points, fewest=_FEWEST_POINTS)
        sizes = where.grid
        _check_smoothness(self.kernel, problem)
        if slabs is not None:
            if where.points is not None:
                given = f"{len(where.points)} scattered points and slabs={slabs!r}"
                raise ArgumentError("points", given, "give a grid, whose points slabs share out")
            slabs = self._check_slabs(problem, sizes, slabs)
        elif self._is_smooth:
            varies = {Need.VARIABLE, Need.NONLINEAR} & problem.needs
            problem.require(self.supported - (_OF_CONSTANTS if varies else set()), "GPSolver")
        else:
            problem.require(_ROUGH, repr(self))
            if where.points is not None:
                remedy = "give a grid, or solve with GPSolver() as it is"
                raise ArgumentError("points", f"{len(where.points)} scattered points", remedy)
        problem.check_conditions()
        if problem.constant_is_free:
            warnings.warn(_FREE_CONSTANT, NumericalWarning, stacklevel=2)
        identity = {} if checkpoint is None else self._identity(problem, where, slabs)
        if where.points is not None:
            problem = with_arrays_at_points(problem, where.points)
        with progress_bar("solve", visible=None if self.verbose else False) as bar:
            journal = open_journal(checkpoint, identity, bar)
            if isinstance(slabs, int):
                with one_thread():
                    posterior = march(problem, sizes, slabs, journal, seed=self._seed())
            else:
                posterior = self._posterior(problem, where, journal, started)
        if self.verbose and self.method == "direct":
            print(posterior.report)  # noqa: T201 - asked for
        return Solution(problem, posterior, sizes, dtype=self.dtype)

    def _posterior(
        self, problem: Problem, where: CollocationPoints, journal: Journal, started: float
    ) -> Posterior:
        sizes, points = where
        if problem.needs & ROW_NEEDS or points is not None:
            given = _check_frequencies(self.frequencies, problem, sizes)
            seed = self._seed()
            with one_thread():
                return solve_by_rows(
                    problem, sizes, given, points=points, seed=seed, journal=journal
                )
        with one_thread():
            samples = sample_problem(problem, sizes)
            check_seams(problem, samples)
            given = _check_frequencies(self.frequencies, problem, sizes)
            check_given(problem, samples, given)
            tones = find_frequencies(problem, samples, given)
            if self.method == "map":
                return self._solve_map(problem, samples, tones, journal)
            if problem.dimension == 1 and self.kernel != "gaussian":
                return self._solve_rough_line(problem, samples, tones, started)
            try:
                return self._solve_structured(problem, samples, tones, journal, started)
            except DivergenceError:
                if not (self._is_smooth and may_march(problem)):
                    raise
            slabs = check_slabs(problem, "auto", sizes)
            return march(problem, sizes, slabs, journal, seed=self._seed())

    def _identity(
        self, problem: Problem, where: CollocationPoints, slabs: int | str | None
    ) -> dict[str, str]:
        """What a checkpoint has to be of."""
        solver = f"{self!r}, frequencies={self.frequencies}, slabs={slabs}"
        if isinstance(self.random_state, int):
            solver += f", random_state={self.random_state}"
        grid = " x ".join(map(str, where.grid))
        if where.points is not None:
            grid = f"{len(where.points)} points ({fingerprint(where.points)})"
        return {"problem": identify(problem, where.grid), "grid": grid, "solver": solver}

    def _check_slabs(self, problem: Problem, sizes: tuple[int, ...], slabs: int | str) -> int:
        if not self._is_smooth:
            raise ArgumentError("slabs", f"{slabs!r} for {self!r}", "use the default GPSolver()")
        if problem.domain.region is not None:
            remedy = "leave slabs out: one solve takes a region, of space and time"
            raise ArgumentError("slabs", f"{slabs!r} for {problem.domain}", remedy)
        return check_slabs(problem, slabs, sizes)

    @property
    def _is_smooth(self) -> bool:
        return self.method == "direct" and self.kernel == "gaussian"

    def _solve_structured(
        self,
        problem: Problem,
        samples: Samples,
        tones: tuple[list[float], ...],
        journal: Journal,
        started: float,
    ) -> GPPosterior:
        seed = self._seed()
        smooth = self.kernel == "gaussian"
        best = search_prior(problem, samples, tones, smooth=smooth, seed=seed, journal=journal)
        calibration = calibrate(
            problem,
            best.samples,
            best.equation,
            best.data,
            best.coefficients,
            best.resolution,
            terms=best.terms,
            seed=seed,
        )
        report = SolutionReport(
            method=self.method,
            kernel=self.kernel,
            grid=samples.shape,
            rank=best.equation.shape,
            frequencies=_by_axis(problem, tones),
            band=dict(zip(problem.axes, best.band, strict=True)),
            residual=best.resolution.residual,
            boundary_error=best.resolution.boundary_error,
            log_marginal_likelihood=calibration.log_marginal_likelihood,
            amplitude=calibration.amplitude,
            nugget=NUGGET,
            prior=best.number,
            seconds=time.perf_counter() - started,
            newton_steps=best.newton_steps,
        )
        return GPPosterior(
            best.equation,
            best.coefficients,
            report,
            floor=calibration.floor,
            terms=best.terms,
            scales=calibration.scales,
            defect=calibration.defect,
        )

    def _solve_rough_line(
        self,
        problem: Problem,
        samples: Samples,
        tones: tuple[list[float], ...],
        started: float,
    ) -> LinePosterior:
        best = search_line(problem, samples, tones[0], seed=self._seed())
        posterior = best.posterior
        return posterior.with_report(
            SolutionReport(
                method=self.method,
                kernel=self.kernel,
                grid=samples.shape,
                rank=(len(posterior.values),),
                frequencies=_by_axis(problem, tones),
                band={problem.axes[0]: 0.0},
                residual=best.resolution.residual,
                boundary_error=best.resolution.boundary_error,
                log_marginal_likelihood=posterior.log_marginal_likelihood,
                amplitude=posterior.amplitude,
                nugget=math.sqrt(posterior.jitter),
                prior=best.number,
                seconds=time.perf_counter() - started,
            )
        )

    def _solve_map(
        self,
        problem: Problem,
        samples: Samples,
        tones: tuple[list[float], ...],
        journal: Journal,
    ) -> MapPosterior:
        components = [
            _MAP_SHAPE.components(length, len(x), found, most_lines=0)
            for length, x, found in zip(problem.domain.lengths, samples.axes, tones, strict=True)
        ]
        return solve_map(
            problem,
            samples.shape,
            components,
            envelope=self.kernel,
            device=self.device,
            visible=None if self.verbose else False,
            journal=journal,
        )

    def _seed(self) -> int:
        return int(torch.randint(2**31, (1,), generator=as_generator(self.random_state)))

    def __repr__(self) -> str:
        return f"GPSolver({self.kernel!r}, method={self.method!r})"


def _by_axis(problem: Problem, tones: tuple[list[float], ...]) -> dict[str, NDArray[np.float64]]:
    return {axis: np.sort(found) for axis, found in zip(problem.axes, tones, strict=True)}


def _check_smoothness(kernel: Kernel, problem: Problem) -> None:
    order, most = max(problem.orders), _HIGHEST_ORDER[kernel]
    if order > most:
        given = f"{kernel!r}, good for derivatives up to order {most}, for one of order {order}"
        raise ArgumentError("kernel", given, "give 'gaussian', which is smooth")


def _check_frequencies(
    given: Mapping[str, Sequence[float]], problem: Problem, sizes: tuple[int, ...]
) -> dict[str, list[float]]:
    """The frequencies of the user as lists, without zeros: the slow component is always there."""
    checked = {}
    for axis, values in given.items():
        name = f"frequencies[{axis!r}]"
        if axis not in problem.axes:
            raise ArgumentError(name, "no axis of the problem", f"give {', '.join(problem.axes)}")
        remedy = "give finite numbers from 0, in cycles per unit"
        try:
            numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(name, repr(values), remedy) from error
        if numbers.ndim != 1 or not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ArgumentError(name, str(values), remedy)
        i = problem.axes.index(axis)
        waves = numbers.max(initial=0.0) * problem.domain.lengths[i]
        if 2 * waves > sizes[i] - 1:
            coarse = f"{sizes[i]} points along {axis} for {numbers.max():.4g} cycles per unit"
            remedy = f"give at least {math.ceil(2.2 * waves) + 1} points there"
            raise ArgumentError("grid", coarse, remedy)
        checked[axis] = [float(f) for f in numbers if f > 0]
    return checked
