"""Random walks on a graph, compiled: what they leave behind estimates powers of its matrix.

A walker moves to a neighbor j of its node i with probability ``A_ij / D_i`` and stops before each
step with probability p. Divided by the probability of how it came there, its weight in j after l
steps is ``√(D_start / D_j) / (1 - p)^l``, whatever its way: the mean over walkers of what they
leave in j estimates ``(W^l)_start,j`` for ``W = D^-1/2 A D^-1/2``, without bias.

The draws of a node depend on the seed and the node alone, so that any number of threads gives the
same features.

References
----------
K. Choromanski, *Taming graph kernels with random features*, ICML 2023 (reinforced walks).
I. Reid, K. Choromanski and A. Weller, *Quasi-Monte Carlo graph random features*, NeurIPS 2023
(antithetic termination).
I. Reid, E. Berger, K. Choromanski and A. Weller, *Repelling random walks*, ICLR 2024.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from kernelgp.features.graph.adjacency import Graph
from kernelgp.features.splitmix import mix

__all__ = ["COUPLINGS", "Deposits", "walk"]

COUPLINGS = ("iid", "antithetic", "repelling", "reinforced")


@dataclass(frozen=True, eq=False)
class Deposits:
    """What the walkers of every node left behind, by rows.

    Attributes
    ----------
    starts : (n + 1,) int64
        Entries of node i are ``starts[i]:starts[i + 1]``.
    keys : int64, ascending in each row
        ``column * width + length``, where lengths are kept apart; else the column.
    values : float64
    """

    starts: NDArray[np.int64]
    keys: NDArray[np.int64]
    values: NDArray[np.float64]


def walk(
    graph: Graph,
    table: NDArray[np.float64],
    *,
    apart: bool,
    n_walks: int,
    stop_probability: float,
    coupling: str,
    seed: int,
) -> Deposits:
    """Send `n_walks` walkers from every node, for ``len(table) - 1`` steps at most.

    Parameters
    ----------
    graph
    table : (longest + 1,)
        What a walker leaves after so many steps is multiplied by this.
    apart
        Whether walks of different length are kept apart, in keys.
    coupling
        One of `COUPLINGS`.
    """
    width = len(table) if apart else 1
    threads = max(1, min(torch.get_num_threads(), graph.n // 256))
    ends = [graph.n * k // threads for k in range(threads + 1)]
    parts = graph.starts, graph.neighbors, graph.cumulative, graph.root_degree, table, width
    in_turn = coupling == "reinforced"
    kind = () if in_turn else (COUPLINGS.index(coupling),)
    arguments = *parts, n_walks, stop_probability, *kind, np.uint64(seed)
    function: Any = _in_turn if in_turn else _together

    def run(first: int, last: int) -> tuple[NDArray, NDArray, NDArray]:
        return function(*arguments, first, last)

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(run, *zip(*pairwise(ends), strict=True)))
    counts, keys, values = (np.concatenate([part[i] for part in found]) for i in range(3))
    return Deposits(np.concatenate([[0], np.cumsum(counts)]), keys, values)


_ANTITHETIC, _REPELLING = 1, 2
_STEP = np.uint64(0x9E3779B97F4A7C15)


@njit(inline="always")
def _uniform(state):
    """A number in [0, 1); advances the state, one uint64 in an array."""
    state[0] += _STEP
    return np.float64(mix(state[0]) >> np.uint64(11)) * 2.0**-53


@njit(inline="always")
def _edge(u, start, stop, cumulative):
    """The edge of a node at the quantile u of its weights."""
    if len(cumulative) == 0:
        return start + min(np.int64(u * (stop - start)), stop - start - 1)
    low, high = start, stop - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low


@njit(inline="always")
def _leave(key, value, sums, seen, touched, used):
    if not seen[key]:
        seen[key] = True
        touched[used] = key
        used += 1
    sums[key] += value
    return used


@njit(inline="always")
def _collect(sums, seen, touched, used, keys, values, filled):
    """Append a node's entries in order, and wipe them; the arrays grow."""
    if filled + used > len(keys):
        size = max(2 * len(keys), filled + used)
        more_keys, more_values = np.empty(size, np.int64), np.empty(size)
        more_keys[:filled], more_values[:filled] = keys[:filled], values[:filled]
        keys, values = more_keys, more_values
    order = np.sort(touched[:used])
    for a in range(used):
        key = order[a]
        keys[filled + a], values[filled + a] = key, sums[key]
        sums[key], seen[key] = 0.0, False
    return keys, values, filled + used


@njit(nogil=True, cache=True)
def _together(
    starts, neighbors, cumulative, root, table, width, n_walks, stop, kind, seed, first, last
):
    """All walkers of a node step by step, so that they can know of one another."""
    n, longest = len(root), len(table) - 1
    sums, seen = np.zeros(n * width), np.zeros(n * width, np.bool_)
    touched = np.empty(1 + n_walks * longest, np.int64)
    keys, values = np.empty(16 * (last - first), np.int64), np.empty(16 * (last - first))
    counts, filled = np.empty(last - first, np.int64), 0
    at, alive = np.empty(n_walks, np.int64), np.empty(n_walks, np.bool_)
    crowd, offset = np.zeros(n, np.int64), np.empty(n)
    rank = np.empty(n_walks, np.int64)
    state = np.empty(1, np.uint64)
    apart = 1 if width > 1 else 0
    for i in range(first, last):
        state[0] = mix(seed ^ mix(np.uint64(i) * _STEP + _STEP))
        at[:], alive[:] = i, starts[i + 1] > starts[i]
        used = _leave(i * width, table[0], sums, seen, touched, 0)
        left = n_walks if starts[i + 1] > starts[i] else 0
        damp = root[i] / n_walks
        for length in range(1, longest + 1):
            if left == 0:
                break
            damp /= 1.0 - stop
            for a in range(0, n_walks, 2):
                b, t = a + 1, -1.0
                if alive[a]:
                    t = _uniform(state)
                    if t < stop:
                        alive[a] = False
                        left -= 1
                if b < n_walks and alive[b]:
                    if t >= 0.0 and kind >= _ANTITHETIC:
                        t = t + 0.5 if t < 0.5 else t - 0.5
                    else:
                        t = _uniform(state)
                    if t < stop:
                        alive[b] = False
                        left -= 1
            if kind == _REPELLING:
                # Those who meet share one draw: they stand evenly over the node's edges.
                for w in range(n_walks):
                    if alive[w]:
                        rank[w] = crowd[at[w]]
                        crowd[at[w]] += 1
                        if rank[w] == 0:
                            offset[at[w]] = _uniform(state)
            for w in range(n_walks):
                if alive[w]:
                    here = at[w]
                    if kind == _REPELLING:
                        u = offset[here] + rank[w] / crowd[here]
                        u = u - 1.0 if u >= 1.0 else u
                    else:
                        u = _uniform(state)
                    edge = _edge(u, starts[here], starts[here + 1], cumulative)
                    rank[w], at[w] = here, neighbors[edge]
                    key = at[w] * width + apart * length
                    value = table[length] * damp / root[at[w]]
                    used = _leave(key, value, sums, seen, touched, used)
            if kind == _REPELLING:
                for w in range(n_walks):
                    if alive[w]:
                        crowd[rank[w]] = 0
        keys, values, filled = _collect(sums, seen, touched, used, keys, values, filled)
        counts[i - first] = used
    return counts, keys[:filled].copy(), values[:filled].copy()


@njit(nogil=True, cache=True)
def _in_turn(starts, neighbors, cumulative, root, table, width, n_walks, stop, seed, first, last):
    """One walker after the other; an edge used N times before is taken 1 / (1 + N) as readily."""
    n, longest = len(root), len(table) - 1
    sums, seen = np.zeros(n * width), np.zeros(n * width, np.bool_)
    touched = np.empty(1 + n_walks * longest, np.int64)
    keys, values = np.empty(16 * (last - first), np.int64), np.empty(16 * (last - first))
    counts, filled = np.empty(last - first, np.int64), 0
    uses, passed = np.zeros(len(neighbors), np.int64), np.empty(n_walks * longest, np.int64)
    state = np.empty(1, np.uint64)
    apart = 1 if width > 1 else 0
    for i in range(first, last):
        state[0] = mix(seed ^ mix(np.uint64(i) * _STEP + _STEP))
        used = _leave(i * width, table[0], sums, seen, touched, 0)
        n_passed = 0
        for _ in range(n_walks):
            here, load = i, root[i] / n_walks
            for length in range(1, longest + 1):
                begin, end = starts[here], starts[here + 1]
                if begin == end or _uniform(state) < stop:
                    break
                # The share of an edge is what it adds to the cumulative ones.
                total = 0.0
                for e in range(begin, end):
                    total += _share(e, begin, end, cumulative) / (1 + uses[e])
                goal, edge, share = _uniform(state) * total, begin, 0.0
                for e in range(begin, end):
                    edge = e
                    share = _share(e, begin, end, cumulative) / (1 + uses[e])
                    goal -= share
                    if goal < 0.0:
                        break
                load *= total * (1 + uses[edge]) / (1.0 - stop)
                uses[edge] += 1
                passed[n_passed] = edge
                n_passed += 1
                here = neighbors[edge]
                key = here * width + apart * length
                value = table[length] * load / root[here]
                used = _leave(key, value, sums, seen, touched, used)
        for a in range(n_passed):
            uses[passed[a]] = 0
        keys, values, filled = _collect(sums, seen, touched, used, keys, values, filled)
        counts[i - first] = used
    return counts, keys[:filled].copy(), values[:filled].copy()


@njit(inline="always")
def _share(edge, begin, end, cumulative):
    if len(cumulative) == 0:
        return 1.0 / (end - begin)
    return cumulative[edge] - cumulative[edge - 1] if edge > begin else cumulative[edge]
