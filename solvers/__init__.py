"""PDE solvers on structured Gaussian processes."""

from solvers.conditions import Dirichlet
from solvers.domain import Box
from solvers.problem import Problem

__all__ = ["Box", "Dirichlet", "Problem"]
