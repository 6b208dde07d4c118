"""PDE solvers on structured Gaussian processes."""

from solvers.chebyshev import ChebyshevSolver
from solvers.conditions import Dirichlet, Initial, Neumann, Observations, Periodic, Robin
from solvers.domain import Box
from solvers.gp_solver import GPSolver
from solvers.named_problems import gallery
from solvers.problem import Problem
from solvers.solution import Solution
from solvers.verdict import Verdict

__all__ = [
    "Box",
    "ChebyshevSolver",
    "Dirichlet",
    "GPSolver",
    "Initial",
    "Neumann",
    "Observations",
    "Periodic",
    "Problem",
    "Robin",
    "Solution",
    "Verdict",
    "gallery",
]
