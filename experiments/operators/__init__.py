"""Lazy operators against their peers: products, gradients, solves, Gaussian processes, grids.

Prints seconds, memory and accuracy of KeOps, linear_operator, gpytorch and ours side by side,
same data and threads, timed in turn in one process. ``--write-table`` also measures where which
backend wins and writes the table by which ``backend="auto"`` chooses.
"""
