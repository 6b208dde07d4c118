"""Observations inside the domain, checked against it: blocks of sensors with their noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from solvers.conditions import Observations
from solvers.domain import Box
from solvers.points import read_points

__all__ = ["Sensors", "read_observations"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sensors:
    """One block of observations: ``values = u(points) + noise``.

    Attributes
    ----------
    points : ndarray, shape (m, d)
    values : ndarray, shape (m,)
    noise : float or "learn"
        The variance of the noise.
    function : str
        The unknown function seen.
    """

    points: Array
    values: Array
    noise: float | Literal["learn"]
    function: str


def read_observations(
    observations: Sequence[Observations], box: Box, functions: Sequence[str]
) -> tuple[Sensors, ...]:
    """Hold observations against the domain and the unknown functions.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If points are not in the box, or it is not said which function was seen.
    """
    blocks = []
    for block in observations:
        if block.of is not None and block.of not in functions:
            remedy = f"give {' or '.join(map(repr, functions))}"
            raise ArgumentError("of", repr(block.of), remedy)
        if block.of is None and len(functions) > 1:
            remedy = f"say which was seen: {' or '.join(map(repr, functions))}"
            raise ArgumentError("of", f"None in {block!r}", remedy)
        points, _ = read_points(block.points, box)
        noise = block.noise if isinstance(block.noise, str) else float(block.noise)
        blocks.append(Sensors(points, block.values, noise, block.of or functions[0]))
    return tuple(blocks)
