"""
A high-frequency PDE
====================

Solved, judged, drawn and saved; writes u.png, u.nc and u.gp here.
"""

import numpy as np

from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Problem, Solution, gallery

problem = Problem(
    "u_xx + u_yy = f",
    Box(x=(0, 1), y=(0, 1)),  # the axes, in order, with their names
    conditions=[Dirichlet("sin(100*x)*cos(80*y)")],  # on every face
    f="-(100**2 + 80**2)*sin(100*x)*cos(80*y)",
)
solution = GPSolver().solve(problem, grid=(200, 200))

points = np.random.default_rng(0).uniform(size=(1000, 2))
truth = np.sin(100 * points[:, 0]) * np.cos(80 * points[:, 1])
error = np.abs(solution.mean(points) - truth)
std = solution.std(points)
print(f"largest error {error.max():.1e}, {np.mean(error <= 2 * std):.0%} within two deviations")
print(f"u_xx at one point: {solution.derivative('u_xx', points[:1], return_std=True)}")
print(f"largest residual {np.abs(solution.residual(points)).max():.1e}, of a source of 1.6e+04")
print(f"three samples: {solution.sample(points[:50], n_samples=3, random_state=0).shape}")
print(solution.report)
verdict = solution.check()
print(f"{bool(verdict)}: {verdict}")

solution.to_xarray().to_netcdf("u.nc")
solution.plot("u.png")
solution.save("u.gp")
print(f"loaded again: {np.array_equal(Solution.load('u.gp').mean(points), solution.mean(points))}")

# Where the exact solution is known, source and boundary values are derived from it.
made = Problem.from_exact("u_xx = f", Box(x=(0, 6.283185307179586)), "sin(6*x)*cos(100*x)")
print(f"GP {GPSolver().solve(made, grid=(400,)).error():.1e} relative L2 error")
print(f"Chebyshev {ChebyshevSolver().solve(made, grid=(400,)).error():.1e}")

entry = gallery["poisson-1d-sin100"]
print(f"{len(list(gallery))} problems, such as {entry.problem}; published: {entry.published}")
