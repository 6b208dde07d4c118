"""
A wave
======

From its value and velocity at the start; writes slices in time.
"""

from solvers import Box, Dirichlet, GPSolver, Initial, Problem

wave = Problem(
    "u_tt = 4*u_xx",
    Box(x=(0, 1), t=(0, 1)),
    conditions=[
        Initial("sin(10*pi*x)", velocity="20*pi*sin(10*pi*x)"),
        Dirichlet(0, on=["x-", "x+"]),
    ],
)
solution = GPSolver().solve(wave, grid=(60, 100))
print(solution.report)
print(solution.check())
solution.plot("wave.png")
solution.plot("wave-slices.png", kind="slices")
