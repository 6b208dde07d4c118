"""Vecchia's approximation against gpboost and gpytorch.

The six simulations of the double-KL paper with three likelihoods each, its tables, and maps of
labels, counts and outliers: errors, log densities, CRPS, coverage and seconds. Draws accuracy
against non-zeros, and what a classifier and counts look like in space and time.
"""
