"""Gauss-Newton for equations that are nonlinear in functions and unknown parameters together.

Every step conditions on the linearised rows (`solvers.least_squares`), so that the posterior at
the end is Laplace's approximation, functions and parameters joint. Exact rows begin soft and are
hardened in stages: first the data draw the solution, then the equation binds it. From a hard start
the path to a solution is a curved valley of width 1e-13, and steps are cut short to follow it.
A step that does not lower the objective is shortened, then damped as Levenberg did.

References
----------
J. Nocedal and S. J. Wright, *Numerical Optimization*, 2006, 10.3 and 17.1 (penalties).

Y. Chen, B. Hosseini, H. Owhadi and A. M. Stuart, *Solving and Learning Nonlinear PDEs with
Gaussian Processes*, J. Comput. Phys. 2021, for Gauss-Newton on collocation rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvers.collocation import Collocation
from solvers.journal import SILENT, Journal
from solvers.least_squares import NUGGET, Fit, fit, learn_scales
from solvers.rows import Block

__all__ = ["Found", "solve_rows"]

Array = NDArray[np.float64]

# Standard deviations of exact rows, relative to the prior's, on the way to the nugget.
_STAGES = (1e-1, 1e-2, 1e-3, 1e-5, 1e-8)
_STEPS_OF_STAGE, _MOST_STEPS = 4, 40
_HALVINGS = (1.0, 0.5, 0.25, 0.1)
_DAMPINGS = (1e2, 1e4, 1e6, 1e8)
# Changes of the functions, relative to their size: rounding, and from where on a step that gains
# nothing is the last.
_CONVERGED, _NEARLY = 1e-13, 1e-6
# Of a step in units of the posterior deviation: no one will see it.
_INVISIBLE = 1e-3
_STAGE_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Found:
    """A solution of all rows.

    Attributes
    ----------
    fit : Fit
        About the solution: the posterior.
    state : ndarray, shape (p,)
        The coefficients found.
    steps : int
        0 where one linear solve was enough.
    history : tuple of float
        Root mean square of what the equations leave after each step, relative to the prior's.
    converged : bool
    """

    fit: Fit
    state: Array
    steps: int
    history: tuple[float, ...]
    converged: bool


def solve_rows(
    collocation: Collocation,
    scales: Sequence[float],
    *,
    nugget: float = NUGGET,
    start: Array | None = None,
    journal: Journal = SILENT,
) -> Found:
    """Condition on all rows of a problem, its scales and unknown noise learned.

    Parameters
    ----------
    collocation
    scales : sequence of float
        A first guess of the prior deviation of each unknown of the space.
    nugget
    start : ndarray, shape (p,), optional
        Where to begin; only its constants are used where there are observations.
    journal
        Where the end of each stage is recorded, and gone on from.
    """
    space = collocation.space
    names = list(space.slices)
    fixed = [k for k, name in enumerate(names) if name in collocation.intervals]
    search = _Search(collocation, space.groups, fixed, collocation.known)
    if collocation.is_linear:
        found = search.learn(np.zeros(space.size), np.array(scales, float), nugget)
        return Found(found, found.coefficients, 0, (), converged=True)
    return search.run(np.array(scales, float), nugget, start, journal)


class _Search:
    """The state of one search: what does not change from step to step."""

    def __init__(
        self,
        collocation: Collocation,
        groups: NDArray[np.intp],
        fixed: Sequence[int],
        known: Sequence[Block],
    ) -> None:
        self.collocation, self.groups, self.fixed = collocation, groups, list(fixed)
        self.known = [block.compressed() for block in known]
        self.history: list[float] = []

    def learn(
        self, state: Array, scales: Array, nugget: float, *, rounds: int | None = None
    ) -> Fit:
        """Condition about `state`, scales and noise learned; they are kept for what follows."""
        blocks = [*self.known, *self.collocation.equations(state)]
        more = {} if rounds is None else {"rounds": rounds}
        found = learn_scales(
            blocks,
            self.groups,
            list(scales),
            fixed=self.fixed,
            learn_noise=self.collocation.learned_noise,
            nugget=nugget,
            **more,
        )
        self.known = list(found.blocks[: len(self.known)])
        return found

    def run(self, scales: Array, nugget: float, start: Array | None, journal: Journal) -> Found:
        stages = (*(s for s in _STAGES if s > 10 * nugget), nugget)
        steps, converged, done = 0, False, 0
        if before := journal.recall("stages"):
            state, scales, self.history = before["state"], before["scales"], [*before["history"]]
            done, steps = int(before["done"]), int(before["steps"])
            noise = [float(sd) if sd > 0 else None for sd in before["noise"]]
            self.known = [replace(b, noise=n) for b, n in zip(self.known, noise, strict=True)]
        else:
            state = self._first(scales, start)
        for number, stage in enumerate(stages[done:], start=done + 1):
            last = stage == nugget
            for _ in range(_MOST_STEPS if last else _STEPS_OF_STAGE):
                new, converged = self._step(state, scales, stage)
                steps += 1
                stalled = new is state
                state = new
                if converged or stalled:
                    break
            rounds = None if last else _STAGE_ROUNDS
            found = self.learn(state, scales, stage, rounds=rounds)
            scales = found.scales[np.searchsorted(self.groups, np.arange(len(scales)))]
            entry = {"state": state, "scales": scales, "done": number, "steps": steps}
            noise = [block.noise or 0.0 for block in self.known]
            journal.record(
                "stages",
                {**entry, "noise": noise, "history": self.history},
                done=number,
                left=self.history[-1],
            )
        # At the scales found.
        for _ in range(_STEPS_OF_STAGE):
            new, converged = self._step(state, scales, nugget)
            steps += 1
            stalled = new is state
            state = new
            if converged or stalled:
                break
        blocks = [*self.known, *self.collocation.equations(state)]
        found = fit(blocks, scales[self.groups], nugget=nugget)
        return Found(found, state, steps, tuple(self.history), converged)

    def _first(self, scales: Array, start: Array | None) -> Array:
        """Functions as the data have them, constants and fields as given or in the middle."""
        state = np.zeros(len(self.groups)) if start is None else start.copy()
        if self.known:
            state = state + 0.0
            drawn = fit(self.known, scales[self.groups], nugget=_STAGES[0]).coefficients
            for name in self.collocation.problem.functions:
                columns = self.collocation.space.slices[name]
                state[columns] = drawn[columns]
        return state

    def _step(self, state: Array, scales: Array, stage: float) -> tuple[Array, bool]:
        """The state after one step, itself if none is better, and whether that is the end."""
        blocks = [*self.known, *self.collocation.equations(state)]
        prior = scales[self.groups]
        found = fit(blocks, prior, nugget=stage)
        now = self._objective(state, prior, blocks, found.noise)
        self.history.append(self._left_over(state, blocks, found.noise, stage))
        step = found.coefficients - state
        visible = float(np.linalg.norm(found.triangle @ (step / prior)))
        for share in _HALVINGS:
            new = self.collocation.advance(state, share * step)
            if self._objective(new, prior, blocks, found.noise) < now:
                return new, self._is_end(state, new, visible)
        if self._change(state, step) <= _NEARLY or visible <= _INVISIBLE:
            return state, True
        for damping in _DAMPINGS:
            damped = fit(blocks, prior, nugget=stage, damping=damping, center=state)
            new = self.collocation.advance(state, damped.coefficients - state)
            if self._objective(new, prior, blocks, found.noise) < now:
                return new, False
        return state, False

    def _is_end(self, state: Array, new: Array, visible: float) -> bool:
        return visible <= _INVISIBLE or self._change(state, new - state) <= _CONVERGED

    def _change(self, state: Array, step: Array) -> float:
        """The largest change of an unknown, relative to its size at the places."""
        zero = (0,) * self.collocation.problem.dimension
        changes = []
        for name, basis in self.collocation.space.bases.items():
            columns = self.collocation.space.slices[name]
            rows = self.collocation.places.features(basis, zero)
            size = float(np.linalg.norm(rows @ (state + step)[columns])) or 1.0
            changes.append(float(np.linalg.norm(rows @ step[columns])) / size)
        changes += [
            abs(float(step[self.collocation.space.slices[n]][0]))
            for n in self.collocation.intervals
        ]
        return max(changes)

    def _residuals(self, state: Array, blocks: Sequence[Block]) -> list[Array]:
        found = []
        with np.errstate(all="ignore"):
            for i, block in enumerate(blocks):
                number = i - len(self.known)
                nonlinear = number >= 0 and self.collocation.is_nonlinear(number)
                found.append(
                    self.collocation.residual(number, state)
                    if nonlinear
                    else block.matrix @ state - block.values
                )
        return found

    def _objective(
        self, state: Array, prior: Array, blocks: Sequence[Block], noise: Sequence[float]
    ) -> float:
        """Twice the negative log density of state and values, but for constants."""
        parts = zip(self._residuals(state, blocks), noise, strict=True)
        with np.errstate(all="ignore"):
            total = sum(float(np.square(r / sd).sum()) for r, sd in parts)
        total += float(np.square(state / prior).sum())
        return total if math.isfinite(total) else math.inf

    def _left_over(
        self, state: Array, blocks: Sequence[Block], noise: Sequence[float], stage: float
    ) -> float:
        first = len(self.known)
        residuals = self._residuals(state, blocks)[first:]
        relative = [stage * r / sd for r, sd in zip(residuals, noise[first:], strict=True)]
        return float(np.sqrt(np.mean(np.square(np.concatenate(relative)))))
