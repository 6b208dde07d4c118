"""Logistic models on random features: Laplace's approximation in the space of the weights.

The weights of D features have independent standard normal priors, so the latent function is a
process of the kernel ``φ(x)·φ(x')``, and its posterior mode and evidence are those that
`kernelgp.gp.laplace` finds in the space of the rows. Here the rows pass in blocks: O(n D²) time a
Newton step and O(D²) memory for each latent function. Several classes have a function each, one
against the rest.

References
----------
Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006: sections 3.4 and 3.7;
algorithm 5.1 for the derivative of the evidence, here by the features.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.features.map import FeatureMap
from kernelgp.gp.inducing import row_blocks

__all__ = ["BinaryRows", "LogisticFeatures", "logistic_loss", "weight_moments"]

_MAX_ITERATIONS = 100
# Of the squared Newton decrement, twice the nats that are left to climb: the determinant sees
# its root.
_TOLERANCE = 1e-16


@dataclass(frozen=True, slots=True, eq=False)
class BinaryRows:
    """Rows with the answers to c yes-or-no questions.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    answers : Tensor of bool, shape (n, c)
    weights : Tensor, shape (n,), float64
        A row of weight w counts as w rows.
    """

    x: Tensor
    answers: Tensor
    weights: Tensor

    def take(self, rows: Tensor) -> "BinaryRows":
        """Some of them."""
        return BinaryRows(self.x[rows], self.answers[rows], self.weights[rows])


class LogisticFeatures:
    """The mode of the weights given the answers, its curvature, and the evidence.

    Parameters
    ----------
    mapping
    rows
    constant
        Standard deviation of the prior of a constant, one more weight after those of the
        features; 0 is none.
    start : Tensor, shape (D or D + 1, c), optional
        A first guess of the mode.

    Attributes
    ----------
    mode : Tensor, shape (D or D + 1, c), float64
        Of weights with standard normal priors; the last row times `constant` is the constant.
    iterations
        Newton steps.

    Warns
    -----
    ConvergenceWarning
        If 100 steps did not suffice.
    """

    @torch.no_grad()
    def __init__(
        self,
        mapping: FeatureMap,
        rows: BinaryRows,
        constant: float,
        start: Tensor | None = None,
    ) -> None:
        self._map, self._rows, self._constant = mapping, rows, constant
        size, c = mapping.n_components + (constant > 0), rows.answers.shape[1]
        mode = rows.weights.new_zeros(size, c)
        best = self._objective(mode)
        if start is not None:
            value = self._objective(start)
            mode = torch.where(value > best, start, mode)
            best = torch.maximum(value, best)
        self.iterations = 0
        while True:
            slope, self._roots = self._derivatives(mode)
            step = torch.stack(
                [
                    torch.cholesky_solve(slope[:, [i]], root).squeeze(-1)
                    for i, root in enumerate(self._roots)
                ],
                dim=-1,
            )
            left = (slope * step).sum(dim=0)
            open_ = left > _TOLERANCE * (1 + best.abs())
            if not open_.any():
                break
            if self.iterations == _MAX_ITERATIONS:
                _warn_of(left.max().item(), best.sum().item())
                break
            mode, best = self._climb(mode, best, step * open_)
            self.iterations += 1
        self.mode, self._best = mode, best

    @property
    def covariances(self) -> Tensor:
        """Of the weights of every function, shape (c, D or D + 1, D or D + 1)."""
        return torch.stack([torch.cholesky_inverse(root) for root in self._roots])

    @property
    def evidence(self) -> Tensor:
        """Laplace's approximation of the log marginal likelihood, summed over the functions."""
        return self._best.sum() - sum(root.diagonal().log().sum() for root in self._roots)

    def backward(self, scale: float) -> None:
        """Accumulate `scale` times the derivative of the evidence into ``.grad`` of the leaves.

        With g and h the first and minus the second derivative of a row's log-likelihood, q the
        posterior variance of its latent value and B the precision of the weights w, the features
        φ move the evidence by ``g w - h B⁻¹φ - ½ h' q w`` where the mode stays, and by
        ``g u - h (φ·u) w``, ``u = -½ B⁻¹ Σ h' q φ``, as it follows.
        """
        covariances = self.covariances
        along = torch.zeros_like(self.mode)
        for rows, phi in self._blocks():
            _, _, bend = self._pointwise(rows, phi @ self.mode)
            spread = torch.stack([((phi @ cov) * phi).sum(dim=-1) for cov in covariances], dim=-1)
            along -= 0.5 * phi.mT @ (bend * spread)
        implicit = torch.einsum("cij,jc->ic", covariances, along)
        for rows in row_blocks(len(self._rows.x), len(self.mode)):
            with torch.enable_grad():
                features = self._map(self._rows.x[rows])
            if not features.requires_grad:
                return
            phi = _extend(features.detach(), self._constant)
            error, curvature, bend = self._pointwise(rows, phi @ self.mode)
            projected = torch.stack([phi @ cov for cov in covariances])
            spread = (projected * phi).sum(dim=-1).mT
            by_latent = error - 0.5 * bend * spread - curvature * (phi @ implicit)
            by_phi = by_latent @ self.mode.mT + error @ implicit.mT
            by_phi -= (curvature.mT.unsqueeze(-1) * projected).sum(dim=0)
            features.backward(scale * by_phi[:, : features.shape[-1]].to(features))

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        with torch.no_grad():
            features = self._map.prepare(self._rows.x)
        for rows in row_blocks(len(self._rows.x), self._map.n_components):
            with torch.no_grad():
                phi = features(self._rows.x[rows])
            yield rows, _extend(phi, self._constant)

    def _pointwise(self, rows: slice, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the log-likelihood: slope, minus second derivative, and the slope of that."""
        weights = self._rows.weights[rows].unsqueeze(-1)
        success = latent.sigmoid()
        curvature = weights * success * (-latent).sigmoid()
        error = weights * (self._rows.answers[rows].to(latent) - success)
        return error, curvature, curvature * (1 - 2 * success)

    def _objective(self, mode: Tensor) -> Tensor:
        """Log-likelihood and log prior of every function, less the constant, shape (c,)."""
        total = -0.5 * mode.square().sum(dim=0)
        for rows, phi in self._blocks():
            sign = 2 * self._rows.answers[rows].to(phi) - 1
            logs = torch.nn.functional.logsigmoid(sign * (phi @ mode))
            total += self._rows.weights[rows] @ logs
        return total

    def _derivatives(self, mode: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The slope (D, c) by the weights, and Cholesky factors of minus the second ones."""
        slope = -mode
        identity = torch.eye(len(mode), dtype=mode.dtype, device=mode.device)
        precisions = [identity.clone() for _ in range(mode.shape[1])]
        for rows, phi in self._blocks():
            error, curvature, _ = self._pointwise(rows, phi @ mode)
            slope += phi.mT @ error
            for precision, h in zip(precisions, curvature.mT, strict=True):
                precision.addmm_(phi.mT, h.unsqueeze(-1) * phi)
        # No eigenvalue is below 1.
        return slope, [torch.linalg.cholesky(precision) for precision in precisions]

    def _climb(self, mode: Tensor, best: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """As much of the step as does not descend, of every function by itself."""
        share = torch.ones_like(best)
        while True:
            moved = self._objective(mode + share * step)
            bad = ~(moved >= best - 1e-12 * (1 + best.abs()))
            if not bad.any():
                return mode + share * step, moved
            share = torch.where(bad, torch.where(share > 1e-6, 0.5 * share, 0.0), share)


def logistic_loss(
    mapping: FeatureMap, rows: BinaryRows, constant: float, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Minus the evidence, whose gradient is in the leaves when it comes back, and the mode."""
    found = LogisticFeatures(mapping, rows, constant, start)
    found.backward(-1.0)
    # The gradient is in place already; this only lets the optimizer call `backward`.
    return -found.evidence.detach().requires_grad_(), found.mode


@torch.no_grad()
def weight_moments(
    mapping: FeatureMap, mode: Tensor, covariances: Tensor, constant: float, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Latent means and variances, both (m, c) and float64, at the rows of `x`."""
    features = mapping.prepare(x)
    means, variances = [], []
    for rows in row_blocks(len(x), len(mode)):
        phi = _extend(features(x[rows]), constant)
        means.append(phi @ mode)
        spread = [((phi @ cov) * phi).sum(dim=-1) for cov in covariances]
        variances.append(torch.stack(spread, dim=-1).clamp(min=0.0))
    return torch.cat(means), torch.cat(variances)


def _extend(features: Tensor, constant: float) -> Tensor:
    """In float64, with a column for the constant if there is one."""
    phi = features.double()
    return torch.cat([phi, phi.new_full((len(phi), 1), constant)], dim=-1) if constant else phi


def _warn_of(decrement: float, objective: float) -> None:
    warnings.warn(
        f"Newton's method for the mode: {0.5 * decrement:.1e} nats are left to climb after "
        f"{_MAX_ITERATIONS} steps (objective {objective:.6g}); give the kernel a smaller scale.",
        ConvergenceWarning,
        stacklevel=4,
    )
