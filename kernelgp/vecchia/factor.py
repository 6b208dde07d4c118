"""The sparse inverse Cholesky factor nearest to a kernel's, in Kullback-Leibler divergence.

Each column is that of a small exact problem: a point given its neighbors. Standard kernels run
compiled, all others in batches of small dense factorizations on any device, with a graph.

References
----------
F. Schäfer, M. Katzfuss and H. Owhadi, *Sparse Cholesky factorization by Kullback-Leibler
minimization*, SIAM Journal on Scientific Computing 43, 2021, (3.2); J. Cao et al., *Variational
sparse inverse Cholesky approximation for latent Gaussian processes via double Kullback-Leibler
minimization*, ICML 2023.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError, JitterWarning
from kernelgp.vecchia.columns import batched_columns, compiled_columns
from kernelgp.vecchia.points import as_points
from kernelgp.vecchia.stationary import read_stationary

__all__ = ["inverse_cholesky"]


def inverse_cholesky(
    kernel: Any,
    X: ArrayLike | Tensor,
    neighbors: ArrayLike,
    jitter: float = 1e-8,
) -> Tensor:
    """U, sparse and upper triangular, with ``K ≈ (U Uᵀ)⁻¹``: O(n m³) time, O(n m) memory.

    Of all factors with that pattern it is nearest to K in Kullback-Leibler divergence:
    ``U[S, i] = L⁻ᵀ e`` with ``K[S, S] = L Lᵀ``, S the neighbors of i and i itself, e the last
    unit vector. With all predecessors as neighbors it is exact.

    Parameters
    ----------
    kernel : kernel of `kernelgp.kernels` or gpytorch
    X : array or Tensor, shape (n, d)
        In their order (`maximin_order`). A tensor that requires a gradient gets one, and so do
        the kernel's hyperparameters.
    neighbors : int array, shape (n, m)
        Of each point some before it, -1 for none (`nearest_previous`).
    jitter : float
        Added to the diagonal, relative to it.

    Returns
    -------
    sparse COO Tensor, shape (n, n)
        In the dtype and on the device of X where it is a tensor, else float64.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If X is not finite or neighbors do not come before their points.
    NotPositiveDefiniteError
        If a column's covariance is singular even with a jitter of 1e-4.

    Warns
    -----
    JitterWarning
        If columns needed more jitter than was given.

    Examples
    --------
    >>> from kernelgp.kernels import Matern
    >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    >>> with torch.no_grad():
    ...     U = inverse_cholesky(Matern(nu=0.5), x, [[-1], [0], [1]]).to_dense()
    >>> (U @ U.mT).inverse()  # a Markov process: exact
    tensor([[1.0000, 0.3679, 0.1353],
            [0.3679, 1.0000, 0.3679],
            [0.1353, 0.3679, 1.0000]], dtype=torch.float64)
    """
    points = as_points("X", X)
    near = _checked_neighbors(neighbors, len(points))
    if not (isinstance(jitter, int | float) and math.isfinite(jitter) and jitter >= 0):
        raise ArgumentError("jitter", repr(jitter), "give a number from 0")
    x = X if isinstance(X, Tensor) and X.is_floating_point() else torch.from_numpy(points)
    wants_graph = torch.is_grad_enabled() and (
        x.requires_grad or any(p.requires_grad for p in kernel.parameters())
    )
    standard = None if wants_graph or x.device.type != "cpu" else read_stationary(kernel)
    if standard is not None:
        numbers, used = compiled_columns(standard, points, points, near, float(jitter))
        values = torch.from_numpy(numbers).to(x.dtype)
    else:
        own = np.arange(len(near))[:, None]
        values, used = batched_columns(kernel, x, np.hstack([near, own]), float(jitter))
    # Rounded to float32 a jitter may be a little more than was given.
    if (raised := int((used > (1 + 1e-6) * jitter).sum())) > 0:
        warnings.warn(
            f"inverse_cholesky: {raised} columns were not positive definite; up to "
            f"{used.max():.0e} of their variance was added. Merge coincident points, or give a "
            "larger jitter.",
            JitterWarning,
            stacklevel=2,
        )
    return _assemble(values, near)


def _checked_neighbors(neighbors: ArrayLike, n: int) -> NDArray[np.int64]:
    given = neighbors.cpu().numpy() if isinstance(neighbors, Tensor) else np.asarray(neighbors)
    if given.dtype.kind not in "iu":
        raise ArgumentTypeError("neighbors", f"dtype {given.dtype}", "give row numbers")
    if given.ndim != 2 or len(given) != n:
        raise ArgumentError("neighbors", f"shape {given.shape}", f"give ({n}, m), a row a point")
    near = np.ascontiguousarray(given, dtype=np.int64)
    wrong = (near >= np.arange(n)[:, None]) | (near < -1)
    if wrong.any():
        i = int(np.flatnonzero(wrong.any(axis=1))[0])
        row = f"{near[i][wrong[i]][0]} for point {i}"
        raise ArgumentError("neighbors", row, "give rows before the point, or -1 for none")
    ordered = np.sort(near, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        i = int(np.flatnonzero(twice.any(axis=1))[0])
        raise ArgumentError("neighbors", f"one twice for point {i}", "give each one once")
    return near


def _assemble(values: Tensor, near: NDArray[np.int64]) -> Tensor:
    n, m = near.shape
    rows = np.concatenate([near, np.arange(n)[:, None]], axis=1)
    columns = np.broadcast_to(np.arange(n)[:, None], (n, m + 1))
    there = torch.from_numpy(rows >= 0)
    index = torch.stack([torch.from_numpy(rows)[there], torch.from_numpy(columns.copy())[there]])
    entries = values[there.to(values.device)]
    return torch.sparse_coo_tensor(
        index.to(values.device), entries, (n, n), check_invariants=False
    ).coalesce()
