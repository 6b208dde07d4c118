"""
An unknown speed
================

The speed of a wave from noisy sensors alone: no condition on any face.
"""

import numpy as np

from solvers import Box, GPSolver, Observations, Problem

rng = np.random.default_rng(0)
where = rng.uniform(size=(150, 2))
seen = np.sin(12 * (where[:, 0] - 0.7 * where[:, 1])) + 0.01 * rng.normal(size=150)
problem = Problem(
    "u_t + c*u_x = 0",
    Box(x=(0, 1), t=(0, 1)),
    conditions=[Observations(where, seen, noise=1e-4)],
    unknown={"c": (0.1, 5.0)},
)
solution = GPSolver().solve(problem, grid=(40, 40))
c = solution.parameters["c"]
print(f"c = {c.mean:.4f} with deviation {c.std:.1e}; the truth is 0.7")
print(solution.check())
