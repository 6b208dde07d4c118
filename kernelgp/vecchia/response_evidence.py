"""Vecchia's likelihood of responses for any kernel, with a graph: by automatic differentiation."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.vecchia.columns import batched_columns
from kernelgp.vecchia.likelihood import Responses
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.small_sets import covariances

__all__ = ["ResponseEvidence", "metric_of"]

Array = NDArray[np.float64]

_JITTER = 1e-8
# How far a kernel is followed from a point, in spreads of the inputs, and from how many points.
_STEP, _PROBES = 0.1, 64
_LEAST_DROP = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class ResponseEvidence:
    """The log-likelihood of rows in their order, the mean's coefficients at their best.

    Attributes
    ----------
    rows : Responses
    members : (n, m + 1) int64
        Every row's neighbors and, last, itself.
    """

    rows: Responses
    members: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Responses, metric: Array, n_neighbors: int) -> "ResponseEvidence":
        n = len(rows.y)
        near = nearest_previous(rows.X / metric, min(n_neighbors, max(n - 1, 1)))
        return cls(rows, np.concatenate([near, np.arange(n)[:, None]], axis=1))

    def __call__(self, kernel: Any, noise: Tensor) -> Tensor:
        """With a graph to the kernel's hyperparameters and the noise."""
        z, basis, logdet = self._whiten(kernel, noise)
        rows = self.rows
        # At the best coefficients they have no slope.
        z = z - basis @ self._best(z, basis)
        total = z.square().sum() + len(z) * math.log(2 * math.pi) - 2 * logdet
        if rows.repeats:
            more = rows.repeats * (2 * math.pi * noise).log() + rows.log_weights
            total = total + more + rows.within / noise
        return -0.5 * total

    def coefficients(self, kernel: Any, noise: Tensor) -> Array:
        """The mean's coefficients of most likelihood, shape (q,)."""
        with torch.no_grad():
            z, basis, _ = self._whiten(kernel, noise)
            return self._best(z, basis).numpy()

    def _best(self, z: Tensor, basis: Tensor) -> Tensor:
        found = np.linalg.lstsq(basis.detach().numpy(), z.detach().numpy())[0]
        return torch.from_numpy(found)

    def _whiten(self, kernel: Any, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Targets and basis times the inverse factor, and the log of its diagonal, summed."""
        rows, members = self.rows, torch.from_numpy(self.members)
        variances = noise * torch.from_numpy(rows.shares)
        x = torch.from_numpy(rows.X)
        values, _ = batched_columns(kernel, x, self.members, _JITTER, variances)
        values = torch.where(members >= 0, values, 0.0)
        at = members.clamp(min=0)
        z = (values * torch.from_numpy(rows.y)[at]).sum(dim=1)
        basis = torch.einsum("nm,nmq->nq", values.detach(), torch.from_numpy(rows.H)[at])
        return z, basis, values[:, -1].log().sum()


def metric_of(kernel: Any, X: Array, rng: np.random.Generator) -> Array:
    """Of every column how far it must change for the kernel to notice, shape (d,).

    From how much the correlation drops over a small step: a lengthscale, where there is one.
    """
    spread = X.std(axis=0)
    spread[spread == 0] = 1.0
    x = torch.from_numpy(X[rng.integers(len(X), size=min(_PROBES, len(X)))])
    metric = np.empty(X.shape[1])
    with torch.no_grad():
        for k in range(len(metric)):
            moved = x.clone()
            moved[:, k] += _STEP * spread[k]
            both = torch.stack([x, moved], dim=1)
            K = covariances(kernel, both)
            own = (K[:, 0, 0] * K[:, 1, 1]).clamp(min=1e-300).sqrt()
            drop = float((1 - K[:, 0, 1] / own).mean())
            metric[k] = _STEP * spread[k] / math.sqrt(2 * max(drop, _LEAST_DROP))
    return metric
