"""Columns of inverse factors, of any kernel: a point given its neighbors, thousands at a time.

With a point i, its neighbors S and ``K[S+i, S+i] = L Lᵀ`` the column is ``L⁻ᵀ e``, e the last
unit vector: the point's conditional mean is minus its entries over the last one, its conditional
variance one over that one's square. Standard kernels run compiled, all others in batches of small
dense factorizations on any device, with a graph.
"""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kernelgp.errors import NotPositiveDefiniteError
from kernelgp.vecchia.passes import fill_columns
from kernelgp.vecchia.small_sets import covariances
from kernelgp.vecchia.stationary import Stationary, read_stationary

__all__ = ["batched_columns", "columns", "compiled_columns", "ranges"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Numbers in the covariances that are factored at once: 64 MiB of float64.
_BATCH_ENTRIES = 2**23
# What a column that is not positive definite is tried with, relative to its variance.
_JITTERS = (1e-8, 1e-6, 1e-4)
_FEWEST_PER_THREAD = 256


def columns(
    kernel: Any, points: Array, queries: Array, near: Index, jitter: float, variances: Array
) -> tuple[Array, Array]:
    """Columns without a graph, compiled where the kernel is one of those.

    Parameters
    ----------
    kernel : kernel of `kernelgp.kernels` or gpytorch
    points : (n, d), queries : (q, d)
    near : (q, m) int64
        The neighbors of every query among the points, -1 for none.
    jitter : float
        Added to the diagonal, relative to it.
    variances : (n,)
        Of the noise that every point is seen with; a query has none.

    Returns
    -------
    columns : (q, m + 1), the query's own entry last
    jitter : (q,), what each of them took

    Raises
    ------
    NotPositiveDefiniteError
        If a column's covariance is singular even with a jitter of 1e-4.
    """
    standard = read_stationary(kernel)
    if standard is not None:
        return compiled_columns(standard, points, queries, near, jitter, variances)
    n, q = len(points), len(queries)
    every = torch.from_numpy(np.concatenate([points, queries]))
    members = np.concatenate([near, n + np.arange(q)[:, None]], axis=1)
    noise = torch.from_numpy(np.concatenate([variances, np.zeros(q)]))
    with torch.no_grad():
        found, used = batched_columns(kernel, every, members, jitter, noise)
    return found.numpy(), used


def ranges(n: int, fewest: int = _FEWEST_PER_THREAD) -> list[tuple[int, int]]:
    """0 to n in one part for each of torch's threads, or fewer where they would be small."""
    parts = max(1, min(torch.get_num_threads(), n // fewest))
    ends = [n * k // parts for k in range(parts + 1)]
    return list(itertools.pairwise(ends))


def compiled_columns(
    kernel: Stationary,
    points: Array,
    queries: Array,
    near: Index,
    jitter: float,
    variances: Array | None = None,
) -> tuple[Array, Array]:
    """The columns of a standard kernel; as `columns`."""
    scaled, every = kernel.scale(points), kernel.scale(queries)
    relative = np.zeros(len(points)) if variances is None else variances / kernel.outputscale
    out, used = np.empty((len(near), near.shape[1] + 1)), np.full(len(near), jitter)

    def fill(rows: Index | None, nugget: float) -> None:
        at, lists = (every, near) if rows is None else (every[rows], near[rows])
        part = out if rows is None else np.empty((len(rows), out.shape[1]))
        shares = relative + nugget, np.full(len(at), nugget)
        arguments = scaled, at, *shares, lists, kernel.kind, kernel.alpha, 1.0
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = ranges(len(lists), fewest=16)
            jobs = [pool.submit(fill_columns, *arguments, *r, part) for r in parts]
            for job in jobs:
                job.result()
        if rows is not None:
            out[rows] = part

    fill(None, jitter)
    bad = np.flatnonzero(~np.isfinite(out).all(axis=1))
    for more in (j for j in _JITTERS if j > jitter):
        if not len(bad):
            break
        used[bad] = more
        fill(bad, more)
        bad = bad[~np.isfinite(out[bad]).all(axis=1)]
    if len(bad):
        _refuse(len(bad), float(used.max()))
    return out / math.sqrt(kernel.outputscale), used


def batched_columns(
    kernel: Any, x: Tensor, members: Index, jitter: float, noise: Tensor | None = None
) -> tuple[Tensor, Array]:
    """The same for any kernel, with a graph: of every set of points the last given the others.

    Parameters
    ----------
    kernel
    x : Tensor, shape (n, d)
    members : (q, m + 1) int64, -1 for none
    jitter : float
    noise : Tensor, shape (n,), optional
        The variance of the noise that every point is seen with.
    """
    sets = torch.from_numpy(members).to(x.device)
    size = max(1, _BATCH_ENTRIES // sets.shape[1] ** 2)
    blocks, jitters = [], []
    for part in sets.split(size):
        own = None if noise is None else noise[part.clamp(min=0)]
        used = _needed_jitter(kernel, x, part, own, jitter)
        # Its covariances are built again in the backward: they would be m times the factor.
        blocks.append(checkpoint(_columns, kernel, x, part, own, used, use_reentrant=False))
        jitters.append(used.double().cpu().numpy())
    return torch.cat(blocks), np.concatenate(jitters)


def _needed_jitter(
    kernel: Any, x: Tensor, members: Tensor, noise: Tensor | None, jitter: float
) -> Tensor:
    """For each column the least jitter tried that lets its covariance be factored."""
    used = torch.full((len(members),), jitter, dtype=x.dtype, device=x.device)
    bad = torch.arange(len(members), device=x.device)
    with torch.no_grad():
        for more in (jitter, *(j for j in _JITTERS if j > jitter)):
            used[bad] = more
            part = None if noise is None else noise[bad]
            K = _covariances(kernel, x, members[bad], part, used[bad])
            bad = bad[torch.linalg.cholesky_ex(K).info != 0]
            if not len(bad):
                return used
    return _refuse(len(bad), float(used.max()))


def _covariances(
    kernel: Any, x: Tensor, members: Tensor, noise: Tensor | None, jitter: Tensor
) -> Tensor:
    K = covariances(kernel, x[members.clamp(min=0)])
    there = members >= 0
    both = there.unsqueeze(-1) & there.unsqueeze(-2)
    unit = torch.eye(members.shape[1], dtype=x.dtype, device=x.device)
    # A missing neighbor is independent of everything.
    K = torch.where(both, K, unit)
    extra = K.diagonal(dim1=-2, dim2=-1) * jitter.unsqueeze(-1)
    if noise is not None:
        extra = extra + noise
    return K + torch.diag_embed(extra)


def _columns(
    kernel: Any, x: Tensor, members: Tensor, noise: Tensor | None, jitter: Tensor
) -> Tensor:
    L = torch.linalg.cholesky(_covariances(kernel, x, members, noise, jitter))
    last = torch.zeros(members.shape[1], 1, dtype=x.dtype, device=x.device)
    last[-1] = 1
    last = last.expand(len(members), -1, -1)
    return torch.linalg.solve_triangular(L.mT, last, upper=True).squeeze(-1)


def _refuse(failed: int, jitter: float) -> NoReturn:
    given = f"a covariance that is singular in {failed} columns, with a jitter of {jitter:.0e}"
    raise NotPositiveDefiniteError("kernel", given, "leave out coincident points")
