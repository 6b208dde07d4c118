"""Slab after slab: the end of one is the start of the next.

Each slab is solved on the basis of the one before. Where the equation does not hold between the
nodes, the axis is stretched where the solution has become steep, or the slab is cut in two.
Errors are carried along as an ensemble: what the equation and the start leave, drawn at random and
propagated by the linearised equation.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvers.divergence import DivergenceError
from solvers.slabs.axes import SpaceAxis, TimeAxis
from solvers.slabs.conditions import (
    Start,
    known_part,
    misfit_on_sides,
    read_start,
    sides_of,
    start_after,
)
from solvers.slabs.errors import draw_errors, function_size, own_error
from solvers.slabs.layers import find_layers
from solvers.slabs.layout import Layout
from solvers.slabs.newton import SlabResult, solve_slab
from solvers.slabs.piece import Piece
from solvers.slabs.residuals import Residuals, measure
from solvers.slabs.system import SlabSystem
from solvers.slabs.warp import Warp

__all__ = ["March"]

Array = NDArray[np.float64]

# Relative residual between the nodes that is aimed at.
_WANTED = 1e-8
# Of the errors carried along: what a slab may add.
_SHARE = 1.0
# Above this a slab is cut even if time is resolved: one stretched axis may not suit all of it.
_POOR = 1e-5
# How often a slab may be halved: where Newton's method finds nothing, and where it does.
_MOST_CUTS, _FEW_CUTS = 6, 3
# A slab is at most so much longer than the one before it.
_GROWTH = 2.01
_MEMBERS = 24
_FINER = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One slab, solved.

    Attributes
    ----------
    own, carried : float
        The size of the errors that the residual makes, and of those at the start.
    """

    system: SlabSystem
    result: SlabResult
    start: Start
    residuals: Residuals
    own: float
    carried: float

    def is_resolved(self, wanted: float) -> bool:
        return self.result.converged and self.residuals.relative <= wanted

    def is_good(self, wanted: float) -> bool:
        """Whether the equation holds, or what it leaves is less than the start brings along."""
        negligible = self.result.converged and self.own <= _SHARE * self.carried
        return negligible or self.is_resolved(wanted)

    @property
    def is_too_long(self) -> bool:
        """Whether time is what is not resolved."""
        return not self.result.converged or self.residuals.relative > 2 * self.residuals.in_space

    @property
    def bare(self) -> Piece:
        """The solution, with errors to be drawn."""
        C, space, time = self.result.coefficients, self.system.space, self.system.time
        values = space.rows[0] @ C @ time.rows[0].T
        return Piece(
            space.basis,
            time.basis,
            C,
            np.zeros((*C.shape, 1)),
            residual=self.residuals.relative,
            steps=len(self.result.history),
            size=float(np.abs(values).max()),
        )

    def is_better_than(self, other: "Step") -> bool:
        if self.result.converged != other.result.converged:
            return self.result.converged
        return self.residuals.relative < other.residuals.relative


class March:
    """Solves a laid out problem from one break to the next.

    Parameters
    ----------
    layout : Layout
    nodes_in_space, nodes_in_time : int
        Of each slab.
    seed : int
    """

    def __init__(
        self, layout: Layout, nodes_in_space: int, nodes_in_time: int, *, seed: int
    ) -> None:
        self.layout, self.nodes_in_space, self.nodes_in_time = layout, nodes_in_space, nodes_in_time
        self._seed = seed
        lower, upper = layout.problem.domain.bounds[layout.space]
        self._plain = Warp(lower, upper, (), layout.periodic)
        self._spaces: dict[Warp, SpaceAxis] = {}

    def run(
        self, start: float, stop: float, before: Piece | None, cuts: int = _MOST_CUTS
    ) -> Iterator[Piece]:
        """The pieces from start to stop: one, unless it has to be cut.

        Parameters
        ----------
        start, stop
        before
            The piece that ends at `start`; None at the beginning.
        cuts
            How often the slab may be halved.

        Raises
        ------
        DivergenceError
            If Newton's method finds no solution in the shortest slab.
        """
        if before is not None and cuts and stop - start > _GROWTH * (before.stop - before.start):
            yield from self._halves(start, stop, before, cuts - 1, None)
            return
        warp = before.space.warp if before is not None else self._plain
        wanted = max(_WANTED, before.accepted if before is not None else 0.0)
        best, tried = self._step(start, stop, before, warp), [warp]
        for _ in range(2):
            if best.is_resolved(wanted) or best.is_too_long:
                break
            # First what is steep at the start, then what is steep at the end of this attempt.
            source = before if before is not None and len(tried) == 1 else best.bare
            warp = self._stretched(source)
            if not any(warp.is_like(other) for other in tried):
                tried.append(warp)
                again = self._step(start, stop, before, warp)
                best = again if again.is_better_than(best) else best
        residual = best.residuals.relative
        may_cut = cuts > (_MOST_CUTS - _FEW_CUTS if best.result.converged else 0)
        if may_cut and not best.is_good(wanted) and (best.is_too_long or residual > _POOR):
            yield from self._halves(start, stop, before, cuts - 1, best)
        elif best.result.converged:
            tracked = min(wanted, 10 * residual) if best.is_resolved(wanted) else 2 * residual
            yield self._finished(best, tracked)
        else:
            raise _failure(best)

    def _halves(
        self, start: float, stop: float, before: Piece | None, cuts: int, whole: "Step | None"
    ) -> Iterator[Piece]:
        middle = (start + stop) / 2
        for a, b in ((start, middle), (middle, stop)):
            for piece in self.run(a, b, before, cuts):
                # Where half the time leaves as much, time is not what is missing.
                left = whole.residuals.relative if whole and whole.result.converged else math.inf
                if piece.residual > left / 4:
                    accepted = max(piece.accepted, 2 * left)
                    piece = replace(piece, accepted=accepted)
                before = piece
                yield piece

    def _finished(self, step: "Step", accepted: float) -> Piece:
        system = step.system
        # The same draws for the same slab, wherever a run begins.
        (bits,) = np.array([system.time.start]).view(np.uint64)
        rng = np.random.default_rng([self._seed, int(bits)])
        errors = draw_errors(system, step.result, step.start, step.residuals, rng)
        floor = misfit_on_sides(self.layout, system.space, system.time, step.result.coefficients)
        return replace(step.bare, errors=errors, floor=floor, accepted=accepted)

    def _stretched(self, piece: Piece) -> Warp:
        """A warp for the end of a piece."""
        warp = piece.space.warp
        s = np.linspace(warp.lower, warp.upper, _FINER * self.nodes_in_space + 1)
        x = warp.inverse(s[:-1] if warp.periodic else s)
        coefficients = piece.at_time(piece.stop, 0)[0][:, :, 0]
        return find_layers(x, [piece.space.evaluate(x, 1)[1] @ c for c in coefficients], warp)

    def _step(self, start: float, stop: float, before: Piece | None, warp: Warp) -> Step:
        layout, space = self.layout, self._space(warp, before)
        time = TimeAxis(start, stop, self.nodes_in_time, layout.order, layout.orders[1])
        given = (
            start_after(layout, space, before)
            if before is not None
            else read_start(layout, space, _MEMBERS)
        )
        sides = sides_of(layout, space)
        system = SlabSystem(layout, space, sides, time)
        known = known_part(layout, time, sides, given.coefficients)
        result = solve_slab(system, _guesses(system, known, given.coefficients, before))
        rng = np.random.default_rng(self._seed)
        residuals = measure(layout, space, time, result.coefficients, rng)
        own = own_error(system, result, residuals, rng)
        carried = np.hypot(function_size(space, given.errors), np.max(given.misfit))
        return Step(system, result, given, residuals, own, float(carried))

    def _space(self, warp: Warp, before: Piece | None) -> SpaceAxis:
        if warp not in self._spaces:
            order = max(self.layout.orders[0], 1)
            basis = before.space if before is not None and before.space.warp == warp else None
            self._spaces = {warp: SpaceAxis(warp, self.nodes_in_space, order, basis=basis)}
        return self._spaces[warp]


def _failure(step: Step) -> DivergenceError:
    problem, time = step.system.layout.problem, step.system.time
    text = "; ".join(equation.text for equation in problem.equations)
    given = f"{text!r}, to which Newton's method finds no solution after t = {time.start:.6g}"
    remedy = (
        "give more points or slabs; where the solution explodes, end before that, and where it "
        "jumps, add diffusion"
    )
    return DivergenceError("equation", given, remedy, step.result.history)


def _guesses(system: SlabSystem, known: Array, levels: Array, before: Piece | None) -> list[Array]:
    """Value and velocity at the start carried on, with the values given: one or two guesses."""
    time = system.time
    elapsed = time.fit_nodes - time.start
    powers = [time.fit @ elapsed**k for k in range(2)]
    flat = [known + system.expand(system.inside(levels[:, :, :1] * powers[0] - known))]
    order = system.layout.order
    if order == 2:
        speed = levels[:, :, 1:2]
    elif before is not None and before.space is system.space.basis:
        speed = before.at_time(before.stop, 1)[0][:, :, 1:2]
    else:
        return flat
    straight = levels[:, :, :1] * powers[0] + speed * powers[1]
    return [*flat, known + system.expand(system.inside(straight - known))]
