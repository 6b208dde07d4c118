"""What a solver gives back: the solution at any point, how far to trust it, and ways out.

A `Solution` is a problem, the grid it was solved on, and a posterior that knows the numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from kernelgp.errors import ArgumentError
from kernelgp.random import RandomState, as_generator
from solvers.collocation_posterior import CollocationPosterior
from solvers.estimates import ConstantEstimate, FieldEstimate
from solvers.fit import notes_on
from solvers.function_solution import FunctionSolution
from solvers.left_sides import left_overs, values_at
from solvers.picture import draw
from solvers.picture_kinds import Kind, draw_kind
from solvers.places import PointPlaces
from solvers.point_verdict import is_judged_at_points, judge_at_points
from solvers.points import read_points
from solvers.problem import Problem
from solvers.protocol import Posterior, posterior_of
from solvers.row_verdict import is_judged_by_rows, judge_rows
from solvers.storage import load_parts, save_parts
from solvers.system_picture import draw_system
from solvers.table import to_dataset, to_system_dataset
from solvers.verdict import Verdict, judge

if TYPE_CHECKING:
    import xarray

__all__ = ["Solution"]


class Solution:
    """The solution of a problem, as a function with its uncertainty.

    Points are numpy arrays or torch tensors of shape (m, d), in one dimension also (m,);
    results are float64 of shape (m,), of the kind the points are.

    Parameters
    ----------
    problem : Problem
    posterior
        What computes mean, deviation, samples and derivatives.
    grid : tuple of int
        The numbers of points it was solved on.
    dtype : torch.dtype
        Of the tensors given back for tensors; a file does not keep it.

    Attributes
    ----------
    problem, posterior, grid, dtype
    report
        What the solver did: seconds, rank, frequencies and so on.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        From every method that takes points: if they are not finite, outside the domain
        or its region, or of a wrong shape.

    Examples
    --------
    >>> from solvers import Box, ChebyshevSolver, Problem
    >>> problem = Problem.from_exact("u_xx = f", Box(x=(0, 3)), "sin(2*x)")
    >>> solution = ChebyshevSolver().solve(problem, grid=(30,))
    >>> solution.mean([1.0]).round(6), solution.derivative("u_x", [1.0]).round(6)
    (array([0.909297]), array([-0.832294]))
    >>> bool(solution.check())
    True
    """

    def __init__(
        self,
        problem: Problem,
        posterior: Posterior,
        grid: Sequence[int],
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.problem, self.posterior, self.grid = problem, posterior, tuple(grid)
        self.dtype = dtype

    @property
    def report(self) -> Any:
        return self.posterior.report

    def __getitem__(self, function: str) -> FunctionSolution:
        """One of the unknown functions, with the methods that a solution of one has itself.

        Raises
        ------
        ArgumentError
            If the problem has no such function.
        """
        if function not in self.problem.functions:
            remedy = f"give {' or '.join(map(repr, self.problem.functions))}"
            raise ArgumentError("function", repr(function), remedy)
        posterior = posterior_of(self.posterior, function)
        return FunctionSolution(self.problem, function, posterior, self.grid, self.dtype)

    @property
    def parameters(self) -> dict[str, ConstantEstimate | FieldEstimate]:
        """What was unknown besides: a constant has `mean` and `std`, a field both at points."""
        posterior = self.posterior
        if not isinstance(posterior, CollocationPosterior):
            return {}
        constants = {name: posterior.constant(name) for name in posterior.intervals}
        fields = {
            name: FieldEstimate(name, posterior.of(name), self.problem.domain, self.dtype)
            for name in posterior.fields
        }
        return {name: (constants | fields)[name] for name in self.problem.unknown}

    @property
    def _alone(self) -> FunctionSolution:
        if len(self.problem.functions) > 1:
            names = " or ".join(f"solution[{name!r}]" for name in self.problem.functions)
            given = f"one of {len(self.problem.functions)} functions"
            raise ArgumentError("solution", given, f"use {names}")
        return self[next(iter(self.problem.functions))]

    def mean(self, points: Any) -> Any:
        """The solution at points."""
        return self._alone.mean(points)

    def std(self, points: Any) -> Any:
        """The posterior standard deviation at points, in the unit of the solution.

        Raises
        ------
        ArgumentError
            If the solver has none.
        """
        return self._alone.std(points)

    def sample(self, points: Any, n_samples: int = 1, random_state: RandomState = None) -> Any:
        """Draws from the posterior at points, shape (n_samples, m).

        Raises
        ------
        ArgumentError
            If the solver has no posterior, or `n_samples` is no positive whole number.
        """
        return self._alone.sample(points, n_samples, random_state)

    def derivative(self, derivative: str, points: Any, *, return_std: bool = False) -> Any:
        """A derivative such as ``"u_xx"`` at points; with its deviation as a pair if asked.

        Raises
        ------
        ArgumentError
            If it is no derivative of the unknown function, or the kernel is not that smooth.
        """
        return self._alone.derivative(derivative, points, return_std=return_std)

    def residual(self, points: Any) -> Any:
        """Left side minus right side of the equation at points, in the unit of the source.

        Of several equations one column each, shape (m, k). Unknown parameters are as found.

        Raises
        ------
        ArgumentError
            If the source was an array, or a callable that a file could not hold.
        """
        x, give_back = read_points(points, self.problem.domain, self.dtype)
        value = values_at(self.problem, self.posterior, x)
        found = [left.residual for left in left_overs(self.problem, PointPlaces(x), value)]
        return give_back(found[0] if len(found) == 1 else np.stack(found, axis=1))

    def error(self, points: Any = None) -> float:
        """The relative L2 error against the exact solution; of several functions the largest.

        Parameters
        ----------
        points
            None takes random ones, several to every cell of the grid, always the same; of
            a region, those inside.

        Raises
        ------
        ArgumentError
            If the problem has no exact solution.
        """
        return max(self[function].error(points) for function in self.problem.functions)

    def check(self, *, rtol: float = 1e-4, random_state: RandomState = 0) -> Verdict:
        """Whether the solution can be trusted, judged without the exact solution.

        The equation is held between the grid's points, the conditions on the faces, the grid
        against the frequencies found, the sensors against their noise and, where the exact
        solution is known, error and deviation against it. Notes say where the prior of a few
        tones does not fit, and what would do better.

        Parameters
        ----------
        rtol
            Bound on every error, relative to the size of what it is an error of.
        random_state
            For the places looked at.
        """
        seed = int(torch.randint(2**31, (1,), generator=as_generator(random_state)))
        rng = np.random.default_rng(seed)
        judged = judge
        if is_judged_by_rows(self.problem):
            judged = judge_rows
        elif is_judged_at_points(self.problem):
            judged = judge_at_points
        verdict = judged(self.problem, self.posterior, self.grid, rtol=rtol, rng=rng)
        return replace(verdict, notes=tuple(notes_on(self.problem, self.posterior, rng)))

    def to_xarray(self, grid: Sequence[int] | None = None) -> "xarray.Dataset":
        """Mean, deviation and source on a uniform grid, with the axes as coordinates.

        Several functions and unknown fields have variables such as ``u_mean`` and ``u_std`` each,
        unknown constants ``c`` and ``c_std``.

        Where the domain has a region there is a variable ``inside``, and the others are NaN
        outside of it.

        Parameters
        ----------
        grid
            None is the grid it was solved on.
        """
        sizes = self.grid if grid is None else self.problem.domain.check_grid(grid)
        if len(self.problem.functions) > 1 or self.problem.unknown:
            return to_system_dataset(self.problem, self.posterior, sizes)
        return to_dataset(self.problem, self.posterior, sizes)

    def plot(self, path: str | Path, *, kind: Kind | None = None) -> Path:
        """Draw the solution, its error and its deviation into a file; its path.

        Parameters
        ----------
        path
            The format is the one that its name ends in.
        kind : {"solution", "error", "deviation", "residual", "spectrum", "slices"}, optional
            One of them alone: the residual relative to the equation's largest term, the spectral
            density of the prior, or the solution at a few times. None is one page of what there
            is; in three dimensions it shows planes through the middle.

        Raises
        ------
        ArgumentError
            If there is no such kind, the solution has not what it shows, or matplotlib cannot
            write that format.
        """
        if kind is not None:
            return draw_kind(self.problem, self.posterior, path, kind)
        several = len(self.problem.functions) > 1 or self.problem.unknown
        drawn = draw_system if several else draw
        return drawn(self.problem, self.posterior, self.grid, path)

    def save(self, path: str | Path) -> Path:
        """Write everything into one file that `load` reads; its path.

        Callables cannot be saved: what is loaded computes all but what needs them.
        """
        return save_parts(path, self.problem, self.posterior, self.grid)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Nothing in the file is run.

        Raises
        ------
        CheckpointError
            If the file is damaged, is not one of ours, or is of another version.
        """
        return cls(*load_parts(path))

    def __repr__(self) -> str:
        sizes = " x ".join(map(str, self.grid))
        text = "; ".join(equation.text for equation in self.problem.equations)
        return f"Solution of {text!r} on {self.problem.domain}, grid {sizes}"
