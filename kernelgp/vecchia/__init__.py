"""Vecchia's approximation: orders, neighbors and sparse inverse Cholesky factors."""

from kernelgp.vecchia.ancestors import nearest_in_balls, reduced_ancestors
from kernelgp.vecchia.factor import inverse_cholesky
from kernelgp.vecchia.neighbors import nearest, nearest_previous
from kernelgp.vecchia.ordering import maximin_order

__all__ = [
    "inverse_cholesky",
    "maximin_order",
    "nearest",
    "nearest_in_balls",
    "nearest_previous",
    "reduced_ancestors",
]
