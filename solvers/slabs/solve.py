"""Solve an initial-value problem slab by slab."""

import math
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.progress import progress_bar
from solvers.divergence import DivergenceError
from solvers.problem import Problem
from solvers.slabs.layout import Layout
from solvers.slabs.march import March
from solvers.slabs.piece import Piece
from solvers.slabs.posterior import SlabsPosterior
from solvers.slabs.report import SlabsReport

__all__ = ["check_slabs", "solve_in_slabs"]

# Nodes in time of a slab where its number is to be chosen, and the fewest of one.
_USUAL, _FEWEST = 12, 4
# From here on the user is told that digits are missing.
_UNRESOLVED = 1e-4


def check_slabs(problem: Problem, slabs: int | str, sizes: Sequence[int]) -> int:
    """The number of slabs.

    Parameters
    ----------
    problem
    slabs : int or "auto"
        "auto" gives each about a dozen of the grid's points in time.
    sizes
        Of the grid.

    Raises
    ------
    ArgumentError
        If it is no positive whole number or "auto", the problem is not one that a march can
        solve, or the grid leaves a slab fewer than four points.
    """
    layout = Layout.of(problem)
    points = sizes[layout.time]
    if slabs == "auto":
        return max(1, round(points / _USUAL))
    whole = isinstance(slabs, int | np.integer) and not isinstance(slabs, bool)
    if not whole or int(slabs) < 1:
        raise ArgumentError("slabs", repr(slabs), "give a positive whole number, or 'auto'")
    if points < _FEWEST * int(slabs):
        given = f"{points} points in {problem.axes[layout.time]} for {slabs} slabs"
        raise ArgumentError("grid", given, f"give at least {_FEWEST * int(slabs)} there")
    return int(slabs)


def solve_in_slabs(
    problem: Problem,
    sizes: Sequence[int],
    slabs: int,
    *,
    seed: int = 0,
    done: SlabsPosterior | None = None,
    on_slab: Callable[[SlabsPosterior], None] | None = None,
) -> SlabsPosterior:
    """March over the time of a problem.

    Parameters
    ----------
    problem
    sizes
        The grid: nodes in space, and in time those of all slabs together.
    slabs : int
    seed
        For the draws of errors.
    done
        What an interrupted run of the same problem, grid and slabs had reached.
    on_slab
        Called after every slab with what there is so far.

    Raises
    ------
    DivergenceError
        If Newton's method finds no solution; its `last` is the posterior until then.

    Warns
    -----
    ConvergenceWarning
        If the equation does not hold between the nodes.
    """
    started = time.perf_counter()
    layout = Layout.of(problem)
    lower, upper = problem.domain.bounds[layout.time]
    breaks = np.linspace(lower, upper, slabs + 1)
    nodes = math.ceil(sizes[layout.time] / slabs)
    march = March(layout, sizes[layout.space], nodes, seed=seed)
    pieces: list[Piece] = list(done.pieces) if done is not None else []
    before = done.report.seconds if done is not None else 0.0

    def so_far() -> SlabsPosterior:
        seconds = before + time.perf_counter() - started
        report = _report(layout, sizes, slabs, pieces, seconds)
        return SlabsPosterior(pieces, problem.functions, layout.time, report)

    with progress_bar("slabs", total=slabs) as bar:
        for k in range(slabs):
            if pieces and pieces[-1].stop >= breaks[k + 1]:
                bar.advance("read")
                continue
            try:
                found = march.run(breaks[k], breaks[k + 1], pieces[-1] if pieces else None)
                pieces += found
            except DivergenceError as error:
                error.last = so_far() if pieces else None
                raise
            bar.advance(t=pieces[-1].stop, residual=pieces[-1].residual)
            if on_slab is not None:
                on_slab(so_far())
    _complain(layout, sizes, pieces)
    return so_far()


def _report(
    layout: Layout, sizes: Sequence[int], slabs: int, pieces: Sequence[Piece], seconds: float
) -> SlabsReport:
    problem, last = layout.problem, pieces[-1]
    ranks = {layout.space: last.space.rank, layout.time: last.time.rank}
    lines = [c.frequency for c in last.space.inner.components]
    band = {layout.space: max(lines), layout.time: 0.0}
    size = max(piece.size for piece in pieces)
    return SlabsReport(
        method="direct",
        kernel="gaussian",
        grid=tuple(sizes),
        slabs=slabs,
        times=(pieces[0].start, *(piece.stop for piece in pieces)),
        rank=tuple(ranks[i] for i in range(2)),
        band={axis: float(band[i]) for i, axis in enumerate(problem.axes)},
        layers=tuple((layer.center, layer.width) for layer in last.space.warp.layers),
        residual=max(piece.residual for piece in pieces),
        boundary_error=max(piece.floor for piece in pieces) / (size or 1.0),
        newton_steps=sum(piece.steps for piece in pieces),
        seconds=seconds,
    )


def _complain(layout: Layout, sizes: Sequence[int], pieces: Sequence[Piece]) -> None:
    worst = max(pieces, key=lambda piece: piece.residual)
    if worst.residual <= _UNRESOLVED:
        return
    finer = list(sizes)
    finer[layout.space] *= 2
    warnings.warn(
        f"solve: relative residual {worst.residual:.1e} between the nodes, from "
        f"t = {worst.start:.4g} to {worst.stop:.4g}; the solution may have a kink or a jump "
        f"there: give a finer grid, such as {tuple(finer)}, or a smoother start.",
        ConvergenceWarning,
        stacklevel=5,
    )
