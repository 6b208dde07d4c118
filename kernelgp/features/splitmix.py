"""Spread the bits of a counter or of a value: random numbers that need no state; compiled.

References
----------
G. L. Steele, D. Lea and C. H. Flood, *Fast splittable pseudorandom number generators*, 2014.
"""

import numpy as np
from numba import njit

__all__ = ["mix"]


@njit(inline="always")
def mix(z):
    """64 bits, each of which depends on all bits of the uint64 z."""
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
