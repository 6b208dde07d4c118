"""One unknown function of a solution: its values anywhere, and how far to trust them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from kernelgp.random import RandomState, as_generator
from solvers.equation import parse_derivative
from solvers.points import read_points
from solvers.problem import Problem
from solvers.protocol import Values
from solvers.verdict import PER_CELL

__all__ = ["FunctionSolution"]

Array = NDArray[np.float64]


class FunctionSolution:
    """What ``solution["u"]`` is: one function of a problem that may have several.

    Parameters
    ----------
    problem : Problem
    name : str
    posterior : Values
        Of this function.
    grid : tuple of int
        The numbers of points it was solved on.
    dtype : torch.dtype
        Of tensors given back for tensors.
    """

    def __init__(
        self,
        problem: Problem,
        name: str,
        posterior: Values,
        grid: Sequence[int],
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.problem, self.name, self.posterior = problem, name, posterior
        self.grid, self.dtype = tuple(grid), dtype

    def mean(self, points: Any) -> Any:
        """The function at points of shape (m, d): shape (m,)."""
        x, give_back = self._read(points)
        return give_back(self.posterior.mean(x, self._orders))

    def std(self, points: Any) -> Any:
        """The posterior standard deviation at points, in the unit of the function.

        Raises
        ------
        ArgumentError
            If the solver has none.
        """
        x, give_back = self._read(points)
        return give_back(self.posterior.std(x, self._orders))

    def sample(self, points: Any, n_samples: int = 1, random_state: RandomState = None) -> Any:
        """Draws from the posterior at points, shape (n_samples, m).

        Draws of several functions with one `random_state` belong together.

        Raises
        ------
        ArgumentError
            If the solver has no posterior, or `n_samples` is no positive whole number.
        """
        x, give_back = self._read(points)
        if (
            isinstance(n_samples, bool)
            or not isinstance(n_samples, int | np.integer)
            or n_samples < 1
        ):
            raise ArgumentError("n_samples", repr(n_samples), "give a positive whole number")
        generator = as_generator(random_state)
        return give_back(self.posterior.sample(x, int(n_samples), generator))

    def derivative(self, derivative: str, points: Any, *, return_std: bool = False) -> Any:
        """A derivative such as ``"u_xx"`` at points; with its deviation as a pair if asked.

        Raises
        ------
        ArgumentError
            If it is no derivative of this function, or the kernel is not that smooth.
        """
        orders = parse_derivative("derivative", derivative, self.name, self.problem.axes)
        x, give_back = self._read(points)
        mean = give_back(self.posterior.mean(x, orders))
        return (mean, give_back(self.posterior.std(x, orders))) if return_std else mean

    def error(self, points: Any = None) -> float:
        """The relative L2 error against the exact solution.

        Parameters
        ----------
        points
            None takes random ones, several to every cell of the grid, always the same.

        Raises
        ------
        ArgumentError
            If the problem has no exact solution.
        """
        difference, size = self.error_norms(points)
        return difference / (size or 1.0)

    def error_norms(self, points: Any = None) -> tuple[float, float]:
        """The norms of the error and of the exact solution over all points."""
        problem = self.problem
        if points is None:
            rng = np.random.default_rng(0)
            axes = problem.domain.random_axes(self.grid, PER_CELL[problem.dimension], rng)
            # The exact solution need not exist outside a region.
            inside = problem.domain.contains_on_grid(axes)
            x = np.stack([c[inside] for c in np.meshgrid(*axes, indexing="ij")], axis=1)
            exact = problem.exact(x, of=self.name)
            mean = self.posterior.mean_on_grid(axes, self._orders)[inside]
        else:
            x, _ = self._read(points)
            exact = problem.exact(x, of=self.name)
            mean = self.posterior.mean(x, self._orders)
        return float(np.linalg.norm(mean - exact)), float(np.linalg.norm(exact))

    def _read(self, points: Any) -> tuple[Array, Callable[[Array], Any]]:
        return read_points(points, self.problem.domain, self.dtype)

    @property
    def _orders(self) -> tuple[int, ...]:
        return (0,) * self.problem.dimension

    def __repr__(self) -> str:
        return f"FunctionSolution({self.name!r} on {self.problem.domain})"
