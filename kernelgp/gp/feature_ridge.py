"""Ridge regression on features: sums over rows, so that rows may come in any number of parts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernelgp.features.map import FeatureMap
from kernelgp.gp.inducing import row_blocks
from kernelgp.linalg import nystrom, solve
from kernelgp.linalg.cholesky import factorise

__all__ = ["RidgeSums", "StreamedGram", "solve_by_iterations"]


_ROWS = 2048


class RidgeSums:
    """``Φᵀ W Φ``, ``Φᵀ W y`` and the sums that centre them, in float64: O(D²) memory.

    Parameters
    ----------
    size
        D.
    outputs
        Number of columns of y.
    """

    def __init__(self, size: int, outputs: int, device: torch.device) -> None:
        make = {"dtype": torch.float64, "device": device}
        self.gram = torch.zeros(size, size, **make)
        self.cross = torch.zeros(size, outputs, **make)
        self.features = torch.zeros(size, **make)
        self.targets = torch.zeros(outputs, **make)
        self.weight = 0.0

    @torch.no_grad()
    def add(self, mapping: FeatureMap, x: Tensor, y: Tensor, weights: Tensor) -> None:
        """Count the rows in."""
        features = mapping.prepare(x)
        # Longer blocks than elsewhere: D² numbers are added for each.
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            root = weights[rows].to(x).sqrt().unsqueeze(-1)
            phi = features(x[rows]).mul_(root)
            self.gram += _square(phi)
            self.cross += phi.mT @ (y[rows].to(x) * root)
            self.features += (phi.mT @ root).squeeze(-1)
        self.targets += (weights.double().unsqueeze(-1) * y.double()).sum(dim=0)
        self.weight += float(weights.double().sum())

    def solve(self, noise: float, *, centred: bool) -> tuple[Tensor, Tensor]:
        """Weights (D, k) and intercepts (k,), float64."""
        gram, cross = self.gram.clone(), self.cross
        mean = self.features / self.weight
        if centred:
            gram -= torch.outer(self.features, mean)
            cross = cross - torch.outer(mean, self.targets)
        gram.diagonal().add_(noise)
        coef = torch.cholesky_solve(cross, factorise(gram, torch.float64).factor)
        intercept = self.targets / self.weight - mean @ coef
        return coef, intercept if centred else torch.zeros_like(intercept)


def _square(phi: Tensor) -> Tensor:
    """``phiᵀ phi``: on the CPU by numpy, which computes one triangle of it."""
    if phi.device.type != "cpu":
        return phi.mT @ phi
    array = phi.numpy()
    return torch.from_numpy(array.T @ array)


@dataclass(frozen=True, slots=True, eq=False)
class StreamedGram:
    """``Φᵀ W Φ + noise``, centred or not, by products only: the features pass block by block.

    Attributes
    ----------
    mapping
    x : Tensor, shape (n, d)
    weights : Tensor, shape (n,)
    noise
    mean : Tensor, shape (D,), float64, or None
        What is subtracted from the features.
    """

    mapping: FeatureMap
    x: Tensor
    weights: Tensor
    noise: float
    mean: Tensor | None

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self.mapping.n_components,) * 2)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return self.x.device

    def double(self) -> "StreamedGram":
        return self

    @torch.no_grad()
    def matmul(self, rhs: Tensor) -> Tensor:
        features, result = self.mapping.prepare(self.x), self.noise * rhs.double()
        shift = 0.0 if self.mean is None else self.mean @ rhs.double()
        for rows in row_blocks(len(self.x), self.mapping.n_components):
            phi = features(self.x[rows])
            inner = (phi @ rhs.to(phi)).double() - shift
            weighted = self.weights[rows].double().unsqueeze(-1) * inner
            result += (phi.mT @ weighted.to(phi)).double()
            if self.mean is not None:
                result -= torch.outer(self.mean, weighted.sum(dim=0))
        return result

    @torch.no_grad()
    def diagonal(self) -> Tensor:
        features, total = self.mapping.prepare(self.x), self.x.new_zeros((), dtype=torch.float64)
        total = total.expand(self.mapping.n_components).clone()
        shift = 0.0 if self.mean is None else self.mean
        for rows in row_blocks(len(self.x), self.mapping.n_components):
            phi = features(self.x[rows]).double() - shift
            total += (self.weights[rows].double().unsqueeze(-1) * phi.square()).sum(dim=0)
        return total + self.noise


@torch.no_grad()
def solve_by_iterations(
    mapping: FeatureMap,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    noise: float,
    *,
    centred: bool,
    rank: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Any]:
    """Weights, intercepts and a report, by conjugate gradients: O(D rank) memory.

    The preconditioner is a randomised Nyström factor of the matrix.
    """
    features, w = mapping.prepare(x), weights.double().unsqueeze(-1)
    total = float(w.sum())
    mean_y = (w * y.double()).sum(dim=0) / total
    sums = torch.zeros(mapping.n_components, 1 + y.shape[1], dtype=torch.float64, device=x.device)
    extended = torch.cat([torch.ones_like(w), y.double() - mean_y * centred], dim=-1) * w
    for rows in row_blocks(len(x), mapping.n_components):
        phi = features(x[rows])
        sums += (phi.mT @ extended[rows].to(phi)).double()
    mean = sums[:, 0] / total
    operator: Any = StreamedGram(mapping, x, weights, noise, mean if centred else None)
    preconditioner = nystrom(operator, rank, random_state=generator)
    coef, report = solve(
        operator, sums[:, 1:], preconditioner=preconditioner, rtol=1e-6, method="pcg"
    )
    return coef, (mean_y - mean @ coef) * centred, report
