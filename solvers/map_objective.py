"""The joint density that the paper maximises: grid values, kernel and two precisions at once.

For grid values U with a product prior, conditions g on the faces and a source f,

    log p = log N(U | 0, K1 ⊗ K2) + λ log N(g | U_faces, 1/τ1) + log N(f | L U, 1/τ2),

where L takes its derivatives from the prior. In whitened values V (`map_equation`) the prior is
``-½ |V|² - Σ log|R|``, and ``L U`` a sum of products ``M1 V M2ᵀ``.

The density has no maximum: with the residual at zero τ2 may grow for ever, and with all weights
at zero U = 0 fits any prior. So both precisions are bounded here, and the jitter is absolute.

References
----------
S. Fang, M. Cooley, D. Long, S. Li, R. Kirby and S. Zhe, *Solving High Frequency and Multi-Scale
PDEs with Gaussian Processes*, ICLR 2024.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solvers.map_equation import (
    BOUNDARY_WEIGHT,
    AxisFactors,
    AxisKernel,
    GridEquation,
    apply_all,
    data_sizes,
    pick,
)

__all__ = ["START", "Coordinates", "Evaluation", "MapObjective"]

#: Misfit, relative to the data, at which the precisions start.
START = 1e-4
# And at which they are bounded: the jitter leaves derivatives no more digits than that.
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Fixed coordinates ω of the whitened values: ``V = E1 (scale * ω) E2ᵀ``, E orthogonal.

    Without them the optimiser does not get anywhere: the residual of a direction of frequency f
    counts f⁴ times, over eight decades. On sin 20x with 60 points L-BFGS leaves an error of 1
    after 1000 steps in U itself, and of 7e-4 in V; in these coordinates it takes 3 to 4e-4.
    """

    bases: tuple[Tensor, ...]
    scale: Tensor

    def whitened(self, latent: Tensor) -> Tensor:
        return apply_all(self.bases, self.scale * latent)

    def latent(self, whitened: Tensor) -> Tensor:
        return apply_all([basis.mT for basis in self.bases], whitened) / self.scale


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The log density, up to a constant, and how far the data are from being met.

    Attributes
    ----------
    log_density : Tensor, shape ()
    residual, boundary : float
        Root mean square misfits of source and conditions, relative to `data_sizes`.
    """

    log_density: Tensor
    residual: float
    boundary: float

    @property
    def misfit(self) -> float:
        return max(self.residual, self.boundary)


class MapObjective:
    """The density as a function of ω, the kernels' parameters and the log precisions.

    Parameters
    ----------
    equation : GridEquation
    kernels
        One stationary kernel for each axis, whose parameters are moved.

    Attributes
    ----------
    latent : Tensor, shape (n1, ..., nd)
        ω, zero at the start, so that U is.
    log_precisions : Tensor, shape (2,)
        Of conditions and residual.
    """

    def __init__(self, equation: GridEquation, kernels: Sequence[AxisKernel]) -> None:
        self.equation, self.kernels = equation, tuple(kernels)
        self._sizes = data_sizes(equation, self.kernels)
        self.log_precisions = (-2 * (START * self._sizes).log()).requires_grad_()
        self.latent = torch.zeros_like(equation.source).requires_grad_()
        self.coordinates = self._coordinates()

    @property
    def precision_bound(self) -> Tensor:
        """Largest log precisions, shape (2,)."""
        return -2 * (_FLOOR * self._sizes).log()

    @property
    def hyperparameters(self) -> list[Tensor]:
        """The log precisions, then the parameters of the kernels."""
        return [self.log_precisions, *(p for k in self.kernels for p in k.parameters())]

    def factors(self) -> list[AxisFactors]:
        return self.equation.factors(self.kernels)

    def whitened(self) -> Tensor:
        return self.coordinates.whitened(self.latent)

    def evaluate(self, factors: list[AxisFactors] | None = None) -> Evaluation:
        """The density at the current parameters, with its graph; cost O(Σ nk³ + N Σ nk).

        Parameters
        ----------
        factors
            Those of the current kernels, where they stay as they are.
        """
        factors, v = factors or self.factors(), self.whitened()
        residual, misfit = self._misfits(factors, v)
        n = v.numel()
        logdet = sum(n / len(f.root) * f.logdet for f in factors)
        tau1, tau2 = self.log_precisions
        squares1, squares2 = (misfit**2).sum(), (residual**2).sum()
        boundary = misfit.numel() / 2 * tau1 - tau1.exp() / 2 * squares1
        source = n / 2 * tau2 - tau2.exp() / 2 * squares2
        log_density = -0.5 * (v**2).sum() - logdet + BOUNDARY_WEIGHT * boundary + source
        size1, size2 = self._sizes.tolist()
        return Evaluation(
            log_density,
            math.sqrt(squares2.item() / n) / size2,
            math.sqrt(squares1.item() / misfit.numel()) / size1,
        )

    @torch.no_grad()
    def refresh_coordinates(self) -> None:
        """Coordinates for the current hyperparameters; U stays where it is."""
        v = self.whitened()
        self.coordinates = self._coordinates()
        self.latent.copy_(self.coordinates.latent(v))

    def _misfits(self, factors: list[AxisFactors], v: Tensor) -> tuple[Tensor, Tensor]:
        equation = self.equation
        left = sum(c * apply_all(pick(factors, orders), v) for orders, c in equation.terms)
        u = apply_all([f.root for f in factors], v)
        return left - equation.source, (u - equation.values)[equation.mask]

    @torch.no_grad()
    def _coordinates(self) -> Coordinates:
        """Along each axis the principal directions of operator and conditions together.

        The scale is one over the root of the diagonal of the Hessian in the rotated
        coordinates; in one dimension there is nothing off that diagonal.
        """
        equation, factors = self.equation, self.factors()
        tau1, tau2 = self.log_precisions.exp().tolist()
        both = [(axis, end) for axis in range(len(factors)) for end in (0, -1)]
        conditioned = [(a, e) for a, e in both if equation.mask.select(a, e).all()]
        bases = []
        for axis, factor in enumerate(factors):
            pure = [(o, c) for o, c in equation.terms if sum(o) == o[axis]]
            pure = pure or [(o, c) for o, c in equation.terms if o[axis]]
            start = torch.zeros_like(factor.root)
            along = sum((c * factor.derivatives[o[axis]] for o, c in pure), start)
            ends = factor.root[[e for a, e in conditioned if a == axis]]
            stack = [math.sqrt(tau2) * along, math.sqrt(BOUNDARY_WEIGHT * tau1) * ends]
            bases.append(torch.linalg.svd(torch.cat(stack), full_matrices=False).Vh.mT)
        rotated = [
            AxisFactors(f.root @ e, {a: m @ e for a, m in f.derivatives.items()})
            for f, e in zip(factors, bases, strict=True)
        ]
        hessian = torch.ones_like(equation.source)
        for orders1, c1 in equation.terms:
            for orders2, c2 in equation.terms:
                ones, twos = pick(rotated, orders1), pick(rotated, orders2)
                columns = [(a * b).sum(dim=0) for a, b in zip(ones, twos, strict=True)]
                hessian = hessian + tau2 * c1 * c2 * _outer(columns)
        for axis, end in conditioned:
            columns = [(f.root**2).sum(dim=0) for f in rotated]
            columns[axis] = rotated[axis].root[end] ** 2
            hessian = hessian + BOUNDARY_WEIGHT * tau1 * _outer(columns)
        return Coordinates(tuple(bases), hessian.rsqrt())


def _outer(vectors: Sequence[Tensor]) -> Tensor:
    product = vectors[0]
    for vector in vectors[1:]:
        product = product.unsqueeze(-1) * vector
    return product
