"""Variances of sparse sums under ``N(0, (V Vᵀ)⁻¹)``, exact, over threads.

References
----------
J. Cao et al., *Variational sparse inverse Cholesky approximation for latent Gaussian processes via
double Kullback-Leibler minimization*, ICML 2023, section 3.3 (ancestors).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from kernelgp.operators.triangular import fill_variances

__all__ = ["sparse_variances"]

_ROWS_PER_JOB = 64


def sparse_variances(
    neighbors: NDArray[np.int64],
    values: NDArray[np.float64],
    members: NDArray[np.int64],
    coefficients: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``|V⁻¹ c|²`` for every row of coefficients: O(m) times the ancestors of its entries.

    Parameters
    ----------
    neighbors : (n, m), values : (n, m + 1)
        V, as in `kernelgp.vecchia.sparse`.
    members : (q, k) int64
        Where each row's coefficients stand; -1 for none.
    coefficients : (q, k)

    Returns
    -------
    (q,)
    """
    own = np.arange(len(neighbors))[:, None]
    every = np.hstack([neighbors, own])
    there = every >= 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    factor = starts, every[there], values[there]
    out = np.empty(len(members))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = []
        for begin in range(0, len(members), _ROWS_PER_JOB):
            end = min(begin + _ROWS_PER_JOB, len(members))
            jobs.append(
                pool.submit(fill_variances, *factor, members, coefficients, begin, end, out)
            )
        for job in jobs:
            job.result()
    return out
