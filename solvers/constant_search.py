"""Unknown constants by the evidence of what was seen, where functions enter linearly.

Given the constants everything is linear and Gaussian, and the functions are integrated out exactly.
That matters: the most likely pair of constant and function is not near the most likely constant,
since it takes a slow decay, say, for the sake of a function of smaller norm (measured: a diffusion
coefficient of 0.3 is found as 0.291 ± 0.001 that way, and as 0.2998 ± 0.002 by evidence). So the
log density of the observations, given that the equations hold, is maximised by Newton's method over
one to a few constants; its curvature is their posterior.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.collocation import Collocation
from solvers.least_squares import Fit, fit, learn_scales, observed_evidence
from solvers.rows import Block, held

__all__ = ["ConstantSearch", "Maximum"]

Array = NDArray[np.float64]

_MOST_STEPS = 10
# Of Newton's step, in posterior deviations: less is not seen.
_INVISIBLE = 0.05
# Steps of differences, in posterior deviations: the density is nearly quadratic over these.
_DIFFERENCE = 0.5
# Of a step, in posterior deviations, at first and after each that succeeds.
_LONGEST, _GROWTH = 3.0, 4.0
_SHARES = (1.0, 0.4, 0.1)
_FIRST_ROUNDS, _SCALE_ROUNDS = 40, 25
# Deviations are learned to this: left where they were until they are off by much, they make
# steps in the density, whose differences then pass for curvature.
_SETTLED = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """The most likely constants.

    Attributes
    ----------
    position : ndarray, shape (k,)
        As standard normal numbers (`solvers.constants`).
    precision : ndarray, shape (k, k)
        Curvature there: the inverse of their covariance.
    value : float
        The log density there, the prior of the constants included.
    scales : ndarray
        Prior deviations of all unknowns.
    converged : bool
    """

    position: Array
    precision: Array
    value: float
    scales: Array
    converged: bool


class ConstantSearch:
    """The evidence of observations as a function of unknown constants.

    Parameters
    ----------
    collocation : Collocation
        Linear in the functions where constants are known, and without unknown fields.
    known : list of Block
        Faces and observations, their noise where it is to begin.
    nugget
    """

    def __init__(self, collocation: Collocation, known: list[Block], nugget: float) -> None:
        self.collocation, self.known, self.nugget = collocation, known, nugget
        space = collocation.space
        self.columns = [space.slices[name].start for name in collocation.intervals]
        self.own = np.ones(space.size, bool)
        self.own[self.columns] = False
        self.evaluations = 0

    def blocks(self, position: Array) -> list[Block]:
        """All rows over the columns of functions, at these constants."""
        state = np.zeros(len(self.own))
        state[self.columns] = position
        return held([*self.known, *self.collocation.equations(state)], self.own, state)

    def evidence(
        self, position: Array, start: Array, *, rounds: int = _SCALE_ROUNDS
    ) -> tuple[float, Fit]:
        """Log density of what was seen and of the constants, given that the equations hold.

        Prior deviations and unknown noise are learned at each place, from `start`: they go with
        the constants (a solution that decays faster is larger at its beginning), and searched in
        turn with them both would creep.
        """
        self.evaluations += 1
        groups = self.collocation.space.groups[self.own]
        found = learn_scales(
            self.blocks(position),
            groups,
            list(start[: groups[-1] + 1]),
            learn_noise=self.collocation.learned_noise,
            nugget=self.nugget,
            rounds=rounds,
            settled=_SETTLED,
        )
        value = observed_evidence(found, self.nugget) - 0.5 * float(position @ position)
        return value, found

    def keep(self, found: Fit, scales: Array) -> Array:
        """The prior deviations of a fit for all unknowns; its noise is kept for what follows."""
        for i, (block, sd) in enumerate(zip(self.known, found.noise, strict=False)):
            if block.name in self.collocation.learned_noise:
                self.known[i] = Block(block.name, block.matrix, block.values, sd, block.count)
        groups, kept = self.collocation.space.groups[self.own], scales.copy()
        first = np.searchsorted(groups, np.arange(groups[-1] + 1))
        kept[: groups[-1] + 1] = found.scales[first]
        return kept

    def functions(self, position: Array, scales: Array) -> tuple[Array, Fit]:
        """The state of all unknowns at these constants, and the posterior of the functions."""
        prior = scales[self.collocation.space.groups][self.own]
        found = fit(self.blocks(position), prior, nugget=self.nugget)
        state = np.zeros(len(self.own))
        state[self.own], state[self.columns] = found.coefficients, position
        return state, found

    def best_of(self, positions: list[Array], scales: Array) -> tuple[Array, float]:
        """The most likely of some positions, and its log density."""
        values = [self.evidence(p, scales, rounds=_FIRST_ROUNDS)[0] for p in positions]
        best = int(np.argmax(values))
        return positions[best], values[best]

    def maximise(self, position: Array, scales: Array, deviation: Array) -> Maximum:
        """Newton's method from a position, whose posterior deviation is roughly known."""
        k, converged, longest = len(position), False, _LONGEST
        precision = np.diag(1 / np.square(deviation))
        value, found = self.evidence(position, scales, rounds=_FIRST_ROUNDS)
        for _ in range(_MOST_STEPS):
            scales = here = self.keep(found, scales)

            def density(at: Array, here: Array = here) -> float:
                return self.evidence(at, here)[0]

            steps = _DIFFERENCE / np.sqrt(np.diag(precision))
            gradient, curvature = _differences(density, position, value, steps)
            precision = _positive(curvature, precision)
            step = np.linalg.solve(precision, gradient)
            size = float(np.sqrt(step @ precision @ step))
            if size > longest * np.sqrt(k):
                step *= longest * np.sqrt(k) / size
            if size <= _INVISIBLE:
                converged = True
                break
            for share in _SHARES:
                new, fitted = self.evidence(position + share * step, scales)
                if new > value:
                    longest *= _GROWTH if share == 1.0 else 1.0
                    position, value, found = position + share * step, new, fitted
                    break
            else:
                converged = size <= _DIFFERENCE
                break
        return Maximum(position, precision, value, self.keep(found, scales), converged)


def _differences(
    function: Callable[[Array], float], at: Array, value: float, steps: Array
) -> tuple[Array, Array]:
    """Gradient and minus the Hessian, by central differences: 2 k + k (k - 1) / 2 evaluations."""
    k = len(at)
    unit = np.diag(steps)
    up = np.array([function(at + unit[i]) for i in range(k)])
    down = np.array([function(at - unit[i]) for i in range(k)])
    gradient = (up - down) / (2 * steps)
    curvature = np.diag((2 * value - up - down) / steps**2)
    for i, j in itertools.combinations(range(k), 2):
        both = function(at + unit[i] + unit[j])
        mixed = -(both - up[i] - up[j] + value) / (steps[i] * steps[j])
        curvature[i, j] = curvature[j, i] = mixed
    return gradient, curvature


def _positive(curvature: Array, before: Array) -> Array:
    """A positive definite curvature: where it has none, that of before."""
    scale = np.sqrt(np.diag(before))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    # Far from a maximum there may be none: a step as long as the deviation known before.
    values = np.where(values > 0, np.clip(values, 1e-6, 1e6), 1.0)
    return scale[:, None] * (vectors * values) @ vectors.T * scale
