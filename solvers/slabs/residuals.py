"""What an equation leaves in a slab between the nodes at which it was held."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.slabs.axes import SpaceAxis, TimeAxis
from solvers.slabs.layout import Equations, Layout

__all__ = ["Residuals", "measure"]

Array = NDArray[np.float64]

_TIMES = 12


@dataclass(frozen=True, slots=True)
class Residuals:
    """Root mean squares, for each equation.

    Attributes
    ----------
    left_over, scale : tuples of float
        At places between the nodes in space and time; and the largest term there.
    in_space : float
        At the nodes in time, between those in space only: the worst, relative to the largest term.
    """

    left_over: tuple[float, ...]
    scale: tuple[float, ...]
    in_space: float

    @property
    def relative(self) -> float:
        """The worst, relative to the largest term."""
        return max(map(_ratio, self.left_over, self.scale))


def measure(
    layout: Layout,
    space: SpaceAxis,
    time: TimeAxis,
    coefficients: Array,
    rng: np.random.Generator,
) -> Residuals:
    times = np.sort(rng.uniform(time.start, time.stop, _TIMES))
    between = times, time.basis.evaluate(times, layout.orders[1])
    at_nodes = time.nodes, time.rows

    def residual(x: tuple[Array, Array], t: tuple[Array, Array]) -> tuple[list[float], list[float]]:
        equations = Equations(layout, x[0], t[0])
        values = {}

        def at(f: int, kx: int, kt: int) -> Array:
            if (f, kx, kt) not in values:
                values[f, kx, kt] = x[1][kx] @ coefficients[f] @ t[1][kt].T
            return values[f, kx, kt]

        left_over, scales = equations.left_over(at)
        return [float(np.sqrt(np.mean(np.square(r)))) for r in left_over], scales

    places = space.between, space.rows_between
    left_over, scales = residual(places, between)
    in_space = max(map(_ratio, *residual(places, at_nodes)))
    return Residuals(tuple(left_over), tuple(scales), in_space)


def _ratio(value: float, scale: float) -> float:
    return value / scale if scale else value
