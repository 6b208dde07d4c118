"""Random vectors whose every row depends on its own index and a seed, and on nothing else.

A generator's stream would give other probes when the rows are spread over several processes;
these do not change, so an estimate made from them does not either.

References
----------
G. L. Steele, D. Lea and C. H. Flood, *Fast splittable pseudorandom number generators*, 2014
(SplitMix64's mixing function).
"""

import math

import torch
from torch import Tensor

__all__ = ["draw_seed", "row_normals"]


def row_normals(index: Tensor, columns: int, seed: int) -> Tensor:
    """Independent standard normal numbers, one row for each global row index.

    Parameters
    ----------
    index : Tensor, shape (n,), int64
    columns
        How many numbers each row has; the first are the same for any count.
    seed

    Returns
    -------
    Tensor, shape (n, columns), float64, on the device of `index`

    Examples
    --------
    >>> whole = row_normals(torch.arange(10), 3, seed=0)
    >>> torch.equal(row_normals(torch.arange(6, 10), 3, seed=0), whole[6:])
    True
    """
    column = torch.arange(columns, dtype=torch.int64, device=index.device)
    key = _mix(_mix(index.unsqueeze(-1) + _mix(torch.tensor(seed, device=index.device))) + column)
    # Box-Muller on two uniforms in (0, 1), 52 bits each, never 0.
    radius, angle = _uniform(key), _uniform(_mix(key + 1))
    return (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()


def draw_seed(generator: torch.Generator) -> int:
    """A seed for `row_normals`; the generator moves on."""
    return int(torch.randint(2**62, (1,), generator=generator).item())


def _mix(x: Tensor) -> Tensor:
    """SplitMix64; int64 wraps around as unsigned numbers do, only shifts need a mask."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(x: int) -> int:
    return x - 2**64 if x >= 2**63 else x


def _uniform(key: Tensor) -> Tensor:
    return (_shift(key, 12).double() + 0.5) * 2.0**-52
