"""Gauss-Newton for equations that are nonlinear in functions and unknown parameters together.

Every step conditions on the linearised rows (`solvers.least_squares`), so that the posterior at
the end is Laplace's approximation, functions and parameters joint. Exact rows begin soft and are
hardened in stages: first the data draw the solution, then the equation binds it. From a hard start
the path to a solution is a curved valley of width 1e-13, and steps are cut short to follow it.
A step that does not lower the objective is shortened, then damped as Levenberg did. After a step
of the parameters the functions are solved for anew.

References
----------
G. H. Golub and V. Pereyra, *The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate*, SIAM J. Numer. Anal. 1973.

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
from solvers.constant_search import ConstantSearch
from solvers.journal import SILENT, Journal
from solvers.least_squares import NUGGET, Fit, fit, learn_scales
from solvers.rows import Block, held

__all__ = ["Found", "solve_rows"]

Array = NDArray[np.float64]

# Standard deviations of exact rows, relative to the prior's, on the way to the nugget.
_STAGES = (1e-1, 1e-2, 1e-4, 1e-7)
_SOFT = (1e-1, 1e-2, 1e-4)
_STEPS_OF_STAGE, _MOST_STEPS, _MOST_ROUNDS = 4, 20, 6
_SHARES = (1.0, 0.5, 0.25, 0.1)
_DAMPINGS = (1e2, 1e4, 1e6, 1e8)
# Changes of the unknowns, relative to their size: rounding, and from where on a step that gains
# nothing is the last.
_CONVERGED, _NEARLY = 1e-13, 1e-6
# Of a step in units of the posterior deviation: no one will see it.
_INVISIBLE = 1e-3
_STAGE_ROUNDS = 3
# Of a prior deviation: learned again less than this, it has settled.
_SETTLED = 0.05
# Newton steps back to the equation where functions enter it nonlinearly.
_RETURNS = 2


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
        # The states at the end of each stage.
        self.on_the_way: list[Array] = []
        self.own = collocation.own
        self.has_parameters = collocation.has_parameters
        self.is_semilinear = collocation.is_semilinear
        self.by_evidence = self.is_semilinear and collocation.constants_only

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
        if self.by_evidence:
            return self._run_by_evidence(scales, nugget, start, journal)
        stages = [s for s in _STAGES if s > 10 * nugget]
        state, scales = self._soften(stages, scales, start, journal)
        for _ in range(_MOST_ROUNDS):
            state, converged = self._steps(state, scales, nugget, _MOST_STEPS)
            learned = self._scales(self.learn(state, scales, nugget))
            moved = float(np.abs(np.log(learned / scales)).max(initial=0.0))
            scales = learned
            if moved < _SETTLED:
                break
        state, converged = self._steps(state, scales, nugget, _STEPS_OF_STAGE)
        blocks = [*self.known, *self.collocation.equations(state)]
        found = fit(blocks, scales[self.groups], nugget=nugget)
        return Found(found, state, len(self.history), tuple(self.history), converged)

    def _soften(
        self, stages: Sequence[float], scales: Array, start: Array | None, journal: Journal
    ) -> tuple[Array, Array]:
        """State and scales after all stages, each of which is recorded."""
        done = 0
        if before := journal.recall("stages"):
            state, scales, self.history = before["state"], before["scales"], [*before["history"]]
            self.on_the_way = list(before["on_the_way"])
            done = int(before["done"])
            noise = [float(sd) if sd > 0 else None for sd in before["noise"]]
            self.known = [replace(b, noise=n) for b, n in zip(self.known, noise, strict=True)]
        else:
            state = self._first(scales, start)
        for number, stage in enumerate(stages[done:], start=done + 1):
            state, _ = self._steps(state, scales, stage, _STEPS_OF_STAGE)
            scales = self._scales(self.learn(state, scales, stage, rounds=_STAGE_ROUNDS))
            self.on_the_way.append(state)
            entry = {"state": state, "scales": scales, "done": number, "history": self.history}
            entry |= {"noise": [block.noise or 0.0 for block in self.known]}
            entry |= {"on_the_way": self.on_the_way}
            journal.record("stages", entry, done=number, left=self.history[-1])
        return state, scales

    def _run_by_evidence(
        self, scales: Array, nugget: float, start: Array | None, journal: Journal
    ) -> Found:
        """Constants as what was seen makes them most likely, begun where soft rows lead."""
        state, scales = self._soften([s for s in _SOFT if s > nugget], scales, start, journal)
        search = ConstantSearch(self.collocation, self.known, nugget)
        columns = search.columns
        starts = [one[columns] for one in [*self.on_the_way, *([] if start is None else [start])]]
        first, _ = search.best_of(starts, scales)
        soft = fit(
            [*self.known, *self.collocation.equations(state)],
            scales[self.groups],
            nugget=max(nugget, _SOFT[-1]),
        )
        deviation = np.minimum(np.linalg.norm(soft.inverse[columns], axis=1), 0.5)
        best = search.maximise(first, scales, deviation)
        state, _ = search.functions(best.position, best.scales)
        self.known = search.known
        blocks = [*self.known, *self.collocation.equations(state)]
        found = fit(blocks, best.scales[self.groups], nugget=nugget)
        # Constants are the last columns: what is left of R there is their own precision.
        triangle = found.triangle.copy()
        first = columns[0]
        triangle[first:, first:] = np.linalg.cholesky(best.precision).T
        scales = best.scales[self.groups]
        found = replace(found, triangle=triangle, white=state / scales)
        steps = len(self.history) + search.evaluations
        return Found(found, state, steps, tuple(self.history), best.converged)

    def _scales(self, found: Fit) -> Array:
        """One prior deviation for each unknown."""
        return found.scales[np.searchsorted(self.groups, np.arange(self.groups[-1] + 1))]

    def _steps(self, state: Array, scales: Array, stage: float, most: int) -> tuple[Array, bool]:
        """The state after some steps, and whether more would change nothing."""
        for _ in range(most):
            new, converged = self._step(state, scales, stage)
            stalled = new is state
            state = new
            if converged or stalled:
                return state, converged
        return state, False

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
        for share in _SHARES:
            new = self._returned(state, share * step, prior, found.noise)
            if self._objective(new, prior, blocks, found.noise) < now:
                return new, self._is_end(state, new, visible)
        if self._change(state, step) <= _NEARLY or visible <= _INVISIBLE:
            return state, True
        for damping in _DAMPINGS:
            damped = fit(blocks, prior, nugget=stage, damping=damping, center=state)
            new = self._returned(state, damped.coefficients - state, prior, found.noise)
            if self._objective(new, prior, blocks, found.noise) < now:
                return new, False
        return state, False

    def _returned(self, state: Array, step: Array, prior: Array, noise: Sequence[float]) -> Array:
        """The state after a step of the parameters, functions solved for as they then are.

        A step in all unknowns at once leaves a hard equation, of which the product of parameter
        and function is a part, and so it has to be short. Where functions enter linearly this is
        variable projection (Golub and Pereyra 1973).
        """
        new = self.collocation.advance(state, step)
        if not self.has_parameters:
            return new
        for _ in range(1 if self.is_semilinear else _RETURNS):
            blocks = [*self.known, *self.collocation.equations(new)]
            if not all(np.isfinite(b.matrix).all() and np.isfinite(b.values).all() for b in blocks):
                break
            own = self.own
            rows = held(blocks, own, new, noise)
            new[own] = fit(rows, prior[own]).coefficients
        return new

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
