"""Slabs of time, each written down when it is solved."""

import json
from collections.abc import Sequence

import numpy as np

from solvers.journal import Journal
from solvers.problem import Problem
from solvers.slabs import solve_in_slabs
from solvers.slabs.posterior import SlabsPosterior

__all__ = ["march"]


def march(
    problem: Problem, sizes: Sequence[int], slabs: int, journal: Journal, *, seed: int
) -> SlabsPosterior:
    """`solve_in_slabs`, going on from what `journal` has, and recording each slab in it."""
    done, before = None, journal.recall("slabs")
    if before is not None:
        meta = json.loads(before.pop("meta").tobytes())
        done = SlabsPosterior.from_arrays(before, meta)

    def on_slab(posterior: SlabsPosterior) -> None:
        meta = json.dumps(posterior.meta()).encode()
        arrays = {**posterior.arrays(), "meta": np.frombuffer(meta, np.uint8)}
        journal.record("slabs", arrays, done=len(posterior.pieces))

    return solve_in_slabs(problem, sizes, slabs, seed=seed, done=done, on_slab=on_slab)
