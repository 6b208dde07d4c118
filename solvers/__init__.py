"""PDE solvers on structured Gaussian processes."""
