"""Frequencies of unknown functions from all there is: sources, faces, sensors, the equations.

One equation or several; what an equation turns into another frequency on its own (``u_tt = 4 u_xx``
makes a wave in time of one in space) follows from the determinant of its symbols.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.problem import Problem
from solvers.scattered_spectrum import scattered_tones
from solvers.spectrum import characteristic_frequencies, merge_frequencies, peaks

__all__ = ["MOST_TONES", "PEAK_FLOOR", "row_frequencies"]

Array = NDArray[np.float64]

MOST_TONES = {1: 8, 2: 3, 3: 2}
PEAK_FLOOR = {1: 1e-13, 2: 1e-9, 3: 1e-9}
# Fewer sensors cannot tell a tone from what is slow; weaker ones than this are left to the rest.
_FEWEST_SENSORS, _MOST_SEEN, _SEEN_FLOOR = {1: 40, 2: 120, 3: 400}, 2, 0.1


def row_frequencies(
    problem: Problem,
    axes: Sequence[Array],
    given: Mapping[str, Sequence[float]],
    candidates: Sequence[Sequence[float]] | None = None,
    at: Array | None = None,
) -> tuple[list[float], ...]:
    """The tones of each axis, in cycles per unit, the strongest first.

    Parameters
    ----------
    problem
    axes
        The grid.
    given
        For some axes, what the user says.
    candidates
        For each axis the frequencies of the data, the strongest first; by default those that
        sources and faces have on the grid.
    at : ndarray, shape (n, d), optional
        Where coefficients that vary are looked at, if not on the grid.
    """
    d, lengths = problem.dimension, problem.domain.lengths
    found, seen = [], _seen(problem)
    for k, name in enumerate(problem.axes):
        if name in given:
            found.append(list(given[name]))
            continue
        if candidates is None:
            strongest = peaks(_signals(problem, axes, k), lengths[k], floor=PEAK_FLOOR[d])
            data = [frequency for _, frequency in strongest]
        else:
            data = candidates[k]
        data = [*data, *seen[k]]
        found.append(merge_frequencies(data, lengths[k], limit=MOST_TONES[d]))
    own = [_own(problem, axes, k, found, at) for k in range(d)]
    return tuple(
        tones
        if name in given
        else merge_frequencies(more, length, known=tones, limit=MOST_TONES[d] + 1)
        for name, length, tones, more in zip(problem.axes, lengths, found, own, strict=True)
    )


def _seen(problem: Problem) -> list[list[float]]:
    """For each axis the main frequencies of what sensors saw, the strongest first."""
    bounds = problem.domain.bounds
    tones: list[list[float]] = [[] for _ in bounds]
    for block in problem.observations:
        if len(block.values) >= _FEWEST_SENSORS[len(bounds)]:
            found = scattered_tones(
                block.points, block.values, bounds, limit=_MOST_SEEN, floor=_SEEN_FLOOR
            )
            for known, more in zip(tones, found, strict=True):
                known += more
    return tones


def _signals(problem: Problem, axes: Sequence[Array], k: int) -> list[Array]:
    """Sources and faces that run along axis k, each of shape (m, n)."""
    n = len(axes[k])
    shape = tuple(len(x) for x in axes)
    signals = []
    for source in problem.sources:
        values = np.broadcast_to(source.on_grid(axes), shape)
        signals.append(np.moveaxis(values, k, -1).reshape(-1, n))
    for face in problem.faces:
        if face.axis == k:
            continue
        others = [x for i, x in enumerate(axes) if i != face.axis]
        values = np.broadcast_to(face.value_on_grid(others), tuple(len(x) for x in others))
        signals.append(np.moveaxis(values, k - (face.axis < k), -1).reshape(-1, n))
    return signals


def _own(
    problem: Problem,
    axes: Sequence[Array],
    k: int,
    found: Sequence[Sequence[float]],
    at: Array | None,
) -> list[float]:
    """Of the waves that the equations without sources admit along axis k."""
    d = problem.dimension
    if d > 2 or any(problem.nonlinears):
        return []
    length = problem.domain.lengths[k]
    waves = [0.0] if d == 1 else [0.0, *found[1 - k]]
    frequencies: list[float] = []
    for wave in waves:
        symbol = _determinant(_symbols(problem, axes, k, wave, at))
        frequencies += characteristic_frequencies(symbol, length)
    # What the grid cannot carry only makes its basis longer.
    most = (len(axes[k]) - 1) / (2 * length)
    return [frequency for frequency in frequencies if frequency <= most]


def _symbols(
    problem: Problem, axes: Sequence[Array], k: int, wave: float, at: Array | None
) -> list[list[NDArray[np.complex128]]]:
    """For each equation and function a polynomial in d/dx_k, lowest power first."""
    rows = []
    for operators in problem.operators:
        row = []
        for operator in operators:
            order = max((term.orders[k] for term in operator.terms), default=0)
            symbol = np.zeros(order + 1, complex)
            for term in operator.terms:
                values = term.on_grid(axes) if at is None else term(*at.T)
                middle = (float(np.min(values)) + float(np.max(values))) / 2
                other = term.orders[1 - k] if problem.dimension == 2 else 0
                symbol[term.orders[k]] += middle * (2j * math.pi * wave) ** other
            row.append(symbol)
        rows.append(row)
    return rows


def _determinant(rows: Sequence[Sequence[NDArray[np.complex128]]]) -> NDArray[np.complex128]:
    total = np.zeros(1, complex)
    for columns in itertools.permutations(range(len(rows))):
        pairs = itertools.combinations(columns, 2)
        product = np.array([(-1.0) ** sum(i > j for i, j in pairs)], complex)
        for row, column in zip(rows, columns, strict=True):
            product = np.convolve(product, row[column])
        size = max(len(total), len(product))
        total = np.pad(total, (0, size - len(total))) + np.pad(product, (0, size - len(product)))
    return total
