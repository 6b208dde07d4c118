"""
A nonlinear equation
====================

By Newton's method, with its deviation; writes two pictures.
"""

import numpy as np

from solvers import Box, GPSolver, Problem

problem = Problem.from_exact(
    "u_xx + u*(u**2 - 1) = f", Box(x=(0, 6.283185307179586)), "sin(6*x)*cos(100*x)"
)
# An interrupted run goes on from the checkpoint.
solution = GPSolver().solve(problem, grid=(400,), checkpoint="nonlinear.ckpt")
x = np.random.default_rng(0).uniform(0, 6.28, size=1000)
error, std = np.abs(solution.mean(x) - problem.exact(x[:, None])), solution.std(x)
print(f"relative error {solution.error():.1e} after {solution.report.newton_steps} Newton steps")
print(f"mean deviation {std.mean():.1e}, {np.mean(error <= 2 * std):.0%} of errors within two")
print(solution.check())
solution.plot("nonlinear.png")
solution.plot("nonlinear-spectrum.png", kind="spectrum")
