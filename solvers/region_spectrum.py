"""Frequencies of data on part of a grid: from the longest runs of its lines, and from its edges."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.outline import Held
from solvers.scattered_spectrum import scattered_tones
from solvers.spectrum import peaks

__all__ = ["edge_tones", "run_tones"]

Array = NDArray[np.float64]

# Of the longest run: shorter ones tell frequencies less well apart.
_LONG_ENOUGH = 0.6
_FEWEST = 8
# On a curve a slow function looks less smooth than it is: what is small there is no tone.
_MOST_EDGE_TONES, _EDGE_FLOOR = 2, 1e-2


def run_tones(
    values: Array, mask: NDArray[np.bool_], axis: int, step: float, *, floor: float
) -> list[float]:
    """Peaks along one axis of values on a grid of which only a part counts, the strongest first.

    The runs of points inside are cut to one length, that all of the long ones have, since a
    window hides what happens at the ends of a line, and there must be none in between.

    Parameters
    ----------
    values : ndarray, shape (n1, ..., nd)
        Of any kind outside.
    mask : boolean ndarray of the same shape
        Which of them are inside.
    axis
    step : float
        Between the points of the grid along the axis.
    floor : float
        The least power that counts, relative to the greatest.

    Returns
    -------
    list of float
        In cycles per unit.
    """
    n = mask.shape[axis]
    lines = np.moveaxis(values, axis, -1).reshape(-1, n)
    held = np.moveaxis(mask, axis, -1).reshape(-1, n)
    runs = [_longest_run(line) for line in held]
    longest = max(stop - start for start, stop in runs)
    size = int(np.ceil(_LONG_ENOUGH * longest))
    if size < _FEWEST:
        return []
    parts = []
    for line, (start, stop) in zip(lines, runs, strict=True):
        if stop - start >= size:
            # From both ends, so that nothing of the run is left out.
            parts += [line[start : start + size], line[stop - size : stop]]
    found = peaks([np.stack(parts)], step * (size - 1), floor=floor)
    return [frequency for _, frequency in found]


def edge_tones(held: Sequence[Held], bounds: Sequence[tuple[float, float]]) -> list[list[float]]:
    """For each axis the main frequencies of the values on faces and edges."""
    tones: list[list[float]] = [[] for _ in bounds]
    for one in held:
        if len(one.values) < _FEWEST:
            continue
        found = scattered_tones(
            one.points, one.values, bounds, limit=_MOST_EDGE_TONES, floor=_EDGE_FLOOR
        )
        for known, more in zip(tones, found, strict=True):
            known += more
    return tones


def _longest_run(held: NDArray[np.bool_]) -> tuple[int, int]:
    """The first and the last point, exclusive, of the longest run of true ones."""
    changes = np.diff(np.concatenate([[0], held.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(changes > 0), np.flatnonzero(changes < 0)
    if not len(starts):
        return 0, 0
    longest = (stops - starts).argmax()
    return int(starts[longest]), int(stops[longest])
