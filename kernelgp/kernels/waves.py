"""Spectra as mixtures of Gaussians: what turns standard normals into a kernel's frequencies.

Every spectrum here is a sum of terms, and every term a Gaussian whose centre and width may
themselves be random: of a Gaussian kernel they are fixed, of a Matérn one the width is, of a
periodic one the centre. A product of kernels adds centres and squared widths. So whatever couples
standard normals couples the frequencies of every kernel, and for fixed random numbers they are
smooth functions of the hyperparameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from scipy.special import gammaincinv
from scipy.stats import poisson
from torch import Tensor
from torch.autograd.function import FunctionCtx
from typing_extensions import override

__all__ = [
    "SpectralPart",
    "SpectralTerm",
    "Waves",
    "gamma_quantile",
    "place",
    "poisson_quantile",
    "student_radius",
    "term_frequencies",
]


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """Frequencies before their normals: ``centres + radii * rates * normal``, in cycles per unit.

    Attributes
    ----------
    centres : Tensor, shape (n, d), or None
        None for zero.
    radii : Tensor, shape (n, 1) or (n, d)
    rates : Tensor, shape (1, d)
    """

    centres: Tensor | None
    radii: Tensor
    rates: Tensor

    @property
    def is_radial(self) -> bool:
        """Whether the columns are scaled alike in every row, and no centre stands off zero."""
        return self.centres is None and self.radii.shape[-1] == 1

    def frequencies(self, normals: Tensor) -> Tensor:
        """One for every row of `normals`, (n, d)."""
        spread = self.radii * self.rates * normals
        return spread if self.centres is None else self.centres + spread

    def __mul__(self, other: "Waves") -> "Waves":
        """Those of the product of two kernels: sums of independent frequencies."""
        centres = [waves.centres for waves in (self, other) if waves.centres is not None]
        centre = sum(centres[1:], start=centres[0]) if centres else None
        if not self.rates.any() or not other.rates.any():
            wide = other if not self.rates.any() else self
            return Waves(centre, wide.radii, wide.rates)
        square = (self.radii * self.rates).square() + (other.radii * other.rates).square()
        # The root has no gradient at zero, where neither kernel sees the column.
        radii = torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
        return Waves(centre, radii, torch.ones_like(self.rates))


class SpectralPart(Protocol):
    """A factor of a term: a kernel of one bump, or a bump of a kernel."""

    def n_uniforms(self, d: int) -> int:
        """How many uniform numbers a frequency takes beside its normals."""
        ...

    def waves(self, uniforms: Tensor, d: int) -> Waves:
        """Those of uniforms, shape (n, n_uniforms), float64, in (0, 1)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SpectralTerm:
    """A term of a spectrum: the product of parts.

    Attributes
    ----------
    variance : Tensor, shape ()
        Its share of ``k(x, x)``.
    parts : tuple of SpectralPart
        None for a constant.
    """

    variance: Tensor
    parts: tuple[SpectralPart, ...] = ()

    def __mul__(self, other: "SpectralTerm") -> "SpectralTerm":
        variance = self.variance.to(other.variance.device) * other.variance
        return SpectralTerm(variance, self.parts + other.parts)

    def n_uniforms(self, d: int) -> int:
        return sum(part.n_uniforms(d) for part in self.parts)

    def waves(self, uniforms: Tensor, d: int) -> Waves:
        """Of uniforms, shape (n, at least n_uniforms)."""
        result, start = None, 0
        for part in self.parts:
            stop = start + part.n_uniforms(d)
            found = part.waves(uniforms[:, start:stop], d)
            result = found if result is None else result * found
            start = stop
        zeros = uniforms.new_zeros(1, d)
        return Waves(None, uniforms.new_ones(len(uniforms), 1), zeros) if result is None else result


def term_frequencies(
    terms: Sequence[SpectralTerm], choice: Tensor, uniforms: Tensor, normals: Tensor
) -> Tensor:
    """Frequencies (n, d) of normals (n, d), each from the term of which `choice` is the index."""
    result, d = torch.zeros_like(normals), normals.shape[-1]
    for index, term in enumerate(terms):
        rows = (choice == index).nonzero().squeeze(-1)
        if len(rows):
            found = term.waves(uniforms[rows], d).frequencies(normals[rows])
            result = found if len(terms) == 1 else result.index_copy(0, rows, found)
    return result


def place(values: Tensor, columns: Sequence[int] | None, d: int) -> Tensor:
    """Values of the active columns, (n, 1 or their number), among d; 0 in the others."""
    if columns is None:
        return values.expand(*values.shape[:-1], d)
    index = torch.tensor(columns, device=values.device)
    values = values.expand(*values.shape[:-1], len(columns))
    return values.new_zeros(*values.shape[:-1], d).index_copy(-1, index, values)


def gamma_quantile(shape: Tensor, uniforms: Tensor) -> Tensor:
    """Gamma(shape, 1) numbers of uniform ones, with a gradient by the shape.

    Parameters
    ----------
    shape : Tensor, shape ()
    uniforms : Tensor, in (0, 1)
    """
    return _GammaQuantile.apply(shape, uniforms)  # pyright: ignore[reportReturnType]


def student_radius(dof: float, uniforms: Tensor) -> Tensor:
    """``sqrt(dof / chi²)``: a normal vector times it is one of Student's t."""
    half = torch.tensor(dof / 2, dtype=uniforms.dtype)
    return (0.5 * dof / gamma_quantile(half, uniforms)).sqrt()


def poisson_quantile(mean: Tensor, uniforms: Tensor) -> Tensor:
    """Poisson numbers of uniform ones; they are whole, so no gradient flows to the mean."""
    counts = poisson.ppf(uniforms.cpu().numpy(), mean.detach().cpu().expand_as(uniforms).numpy())
    return torch.as_tensor(counts, dtype=uniforms.dtype, device=uniforms.device)


class _GammaQuantile(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: FunctionCtx, *args: Any) -> Tensor:
        shape, uniforms = args
        ctx.save_for_backward(shape, uniforms)
        return _quantile(shape.item(), uniforms)

    @staticmethod
    @override
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        # scipy has no derivative by the shape. Central differences of a function that is smooth
        # in its logarithm are right to step²: ten digits.
        shape, uniforms = ctx.saved_tensors
        step = 1e-5
        above, below = (_quantile(shape.item() * math.exp(h), uniforms) for h in (step, -step))
        slope = (above - below) / (2 * step * shape.item())
        return (grad_outputs[0] * slope).sum().to(shape).reshape(shape.shape), None


# Quantiles at 0 and 1 are 0 and infinite; uniform numbers of float64 are multiples of this.
_LEAST = 2.0**-53


def _quantile(shape: float, uniforms: Tensor) -> Tensor:
    inside = uniforms.detach().cpu().clamp(_LEAST, 1 - _LEAST).numpy()
    values = torch.as_tensor(gammaincinv(shape, inside), dtype=uniforms.dtype)
    # Of small shapes most of the mass lies below the least number of float64.
    return values.clamp(min=torch.finfo(torch.float64).tiny).to(uniforms.device)
