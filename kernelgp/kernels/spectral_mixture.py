"""Spectral mixtures: kernels whose spectrum is a sum of bumps at frequencies of one's choice.

A Gaussian bump transforms to a Gaussian envelope, a Student-t bump to a Matérn one. Such a kernel
knows tones: of functions made of few frequencies it interpolates far beyond its lengthscales.

References
----------
A. G. Wilson and R. P. Adams, *Gaussian Process Kernels for Pattern Discovery and Extrapolation*,
2013, equation (12). S. Fang, M. Cooley, D. Long, S. Li, M. Kirby and S. Zhe, *Solving High
Frequency and Multi-Scale PDEs with Gaussian Processes*, 2024, section 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.kernels import tones
from kernelgp.kernels.dot_product import LinearProfile
from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.ladder import (
    Orders,
    check_smoothness,
    cosine_derivative,
    radial_derivative,
    splits,
)
from kernelgp.kernels.matern import MaternProfile, matern_density, matern_derivative
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.rbf import GaussianProfile
from kernelgp.kernels.stationary import scale_columns
from kernelgp.kernels.waves import SpectralTerm, Waves, place, student_radius
from kernelgp.operators.expression import Leaf, Node, Product, Scaled, Sum
from kernelgp.validation import check_positive

__all__ = ["Envelope", "SpectralMixture"]

Envelope = Literal["gaussian", "student", "matern52"]
Numbers = float | Sequence[float] | Sequence[Sequence[float]] | Tensor


@dataclass(frozen=True)
class CosineProfile(LinearProfile):
    """``Πj cos(2π fj (xj - x'j))`` as an inner product of 2^d waves."""

    shift_invariant: ClassVar[bool] = True

    @override
    def embed(self, x: Tensor, *tensors: Tensor) -> Tensor:
        (frequencies,) = tensors
        if frequencies.shape[-1] != x.shape[-1]:
            given = f"{frequencies.shape[-1]} for each component"
            remedy = f"the points have {x.shape[-1]} columns: give (Q, {x.shape[-1]}) frequencies"
            raise ArgumentError("frequencies", given, remedy)
        angle = scale_columns(x, 2 * math.pi * frequencies)
        waves = torch.stack([angle.cos(), angle.sin()], dim=-1).unbind(-2)
        return reduce(lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2), waves)


class SpectralMixture(Kernel):
    """``k = Σq wq Πj e(Δj / lqj) cos(2π fqj Δj)``, ``Δ = x - x'``, for an envelope e.

    Weights are learned as logarithms. There a flat prior is Jeffreys' prior ``p(w) ~ 1/w``, under
    which components that the data do not need fade away.

    Parameters
    ----------
    envelope : "gaussian", "student" or "matern52"
        ``exp(-t² / 2)``, or a Matérn function of smoothness `nu`, whose spectrum is Student-t;
        "matern52" is "student" with nu = 2.5.
    frequencies : shape (Q,) for one input, (Q, d) for d
        In cycles per unit of the input; of either sign, and 0 for a trend. One zero by default.
    lengthscales : one number, shape (Q,) or (Q, d)
        Of the envelopes, in units of the inputs.
    weights : one number or shape (Q,), optional
        Variances of the components, positive. By default equal, with sum 1.
    nu : 1.5, 2.5 or 3.5
        Of the "student" envelope: it has 2 nu - 1 derivatives.
    active_dims : sequence of d int, optional
        The columns that the kernel looks at; all of them by default.

    Raises
    ------
    ArgumentError
        If an entry cannot be used, or the numbers of entries do not fit together.

    Examples
    --------
    >>> kernel = SpectralMixture("student", frequencies=[0.0, 16.0], lengthscales=0.5, nu=1.5)
    >>> kernel.variance.item()
    1.0
    """

    lengthscales: Hyperparameter = Hyperparameter()
    weights: Hyperparameter = Hyperparameter()

    def __init__(
        self,
        envelope: Envelope = "gaussian",
        frequencies: Numbers = (0.0,),
        lengthscales: Numbers = 1.0,
        weights: Numbers | None = None,
        nu: float = 2.5,
        active_dims: Sequence[int] | None = None,
    ) -> None:
        if envelope not in ("gaussian", "student", "matern52"):
            remedy = 'give "gaussian", "student" or "matern52"'
            raise ArgumentError("envelope", repr(envelope), remedy)
        if envelope == "student" and nu not in (1.5, 2.5, 3.5):
            raise ArgumentError("nu", str(nu), "give 1.5, 2.5 or 3.5")
        super().__init__(active_dims)
        self.envelope: Envelope = envelope
        self.nu = 2.5 if envelope == "matern52" else float(nu)
        entries = _check_frequencies(frequencies)
        widths = check_positive("lengthscales", lengthscales)
        widths = widths.unsqueeze(-1) if widths.dim() == 1 else widths
        widths = _expand("lengthscales", widths, entries.shape)
        if self.columns is not None and len(self.columns) != entries.shape[-1]:
            remedy = f"name {entries.shape[-1]}, one for each column of frequencies"
            raise ArgumentError("active_dims", str(self.columns), remedy)
        n_components = len(entries)
        weights = [1 / n_components] * n_components if weights is None else weights
        shares = _expand("weights", check_positive("weights", weights), entries.shape[:1])
        self.frequencies = Parameter(entries.detach().clone())
        if entries.requires_grad:
            # Not a leaf, so no `Parameter`: it carries the graph to the caller's tensor.
            self._parameters["frequencies"] = entries  # pyright: ignore[reportArgumentType]
        self.lengthscales, self.weights = widths, shares

    @classmethod
    def from_data(
        cls, x: Any, y: Any, envelope: Envelope = "gaussian", n_components: int = 4
    ) -> "SpectralMixture":
        """The mixture of the strongest tones of data.

        Tones are found one after the other in the spectrum of what is left: a periodogram where
        x is a uniform axis, that of Lomb and Scargle where it is scattered, and a transform of
        the gridded points for several inputs. All frequencies are refined together by least
        squares after each. A trend counts as a tone of frequency 0.

        Parameters
        ----------
        x : Tensor or array, shape (n,) or (n, d)
        y : Tensor or array, shape (n,)
        envelope
            As for the class.
        n_components
            How many tones at most; fewer where fewer explain y to rounding.

        Returns
        -------
        SpectralMixture
            Its weights are the tones' mean squares, its lengthscales the extent of the data.

        Raises
        ------
        ArgumentError
            If x and y do not fit, hold too few points, are not finite, or y is all zero.

        Examples
        --------
        >>> x = torch.linspace(0, 1, 200, dtype=torch.float64)
        >>> SpectralMixture.from_data(x, torch.sin(2 * torch.pi * 20 * x))  # doctest: +ELLIPSIS
        SpectralMixture(envelope='gaussian', frequencies=[20.0], lengthscales=[1.0], ...)
        """
        found = tones.find_tones(x, y, n_components)
        return cls(
            envelope,
            torch.from_numpy(found.frequencies),
            torch.from_numpy(found.extents),
            torch.from_numpy(found.powers),
        )

    @override
    def expression(self) -> Node:
        parts = zip(*self._entries(), strict=True)
        return Sum(tuple(Scaled(weight, self._component(f, width)) for f, width, weight in parts))

    def _entries(self) -> tuple[tuple[Tensor, ...], ...]:
        """Frequencies and lengthscales (*batch, d) and weights (*batch,) of each component."""
        axes = ((self.frequencies, -2), (self.lengthscales, -2), (self.weights, -1))
        return tuple(entries.unbind(axis) for entries, axis in axes)

    def _component(self, frequencies: Tensor, lengthscales: Tensor) -> Node:
        wave = Leaf(CosineProfile(), (frequencies.unsqueeze(-2),), self.columns)
        if self.envelope == "gaussian":
            envelope = Leaf(GaussianProfile(), (lengthscales.unsqueeze(-2),), self.columns)
            return Product((envelope, wave))
        profile, d = MaternProfile(self.nu), lengthscales.shape[-1]
        columns = tuple(range(d)) if self.columns is None else self.columns
        # Of one input the wave's leaf and the envelope's see the same columns, so that the wave
        # can refuse others. Of several the envelope is a product, not a function of distance.
        alone = [self.columns] if d == 1 else [(column,) for column in columns]
        widths = lengthscales[..., None, None].unbind(-3)
        envelopes = (Leaf(profile, (w,), c) for w, c in zip(widths, alone, strict=True))
        return Product((wave, *envelopes))

    @property
    @override
    def variance(self) -> Tensor:
        return self.weights.sum()

    @property
    @override
    def is_stationary(self) -> bool:
        return True

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        selected = self.select_orders(orders1, orders2)
        if selected is None:
            return x1.new_zeros(len(x1), len(x2))
        orders = tuple(map(sum, zip(*selected, strict=True)))
        check_smoothness(self, orders, 8 if self.envelope == "gaussian" else int(2 * self.nu) - 1)
        lags = (self.select(x1).unsqueeze(-2) - self.select(x2).unsqueeze(-3)).unbind(-1)
        result = x1.new_zeros(len(x1), len(x2))
        for component in zip(*self._entries(), strict=True):
            frequencies, lengthscales, weight = (t.to(x1)[..., None, None] for t in component)
            axes = (frequencies.unbind(-3), lengthscales.unbind(-3), lags, orders)
            result = result + weight * math.prod(map(self._along_axis, *axes))
        return (-1) ** sum(selected[1]) * result

    def _along_axis(self, frequency: Tensor, lengthscale: Tensor, lag: Tensor, n: int) -> Tensor:
        """n-th derivative of the envelope times the cosine, in the lag along one axis."""
        z = lag / lengthscale
        result = torch.zeros_like(lag)
        for count, (of_envelope,), (of_wave,) in splits((n,)):
            envelope = radial_derivative(
                lambda k: self._envelope_derivative(z.square(), k), z.unsqueeze(-1), (of_envelope,)
            )
            wave = cosine_derivative(frequency, lag, of_wave)
            result = result + count * envelope / lengthscale**of_envelope * wave
        return result

    def _envelope_derivative(self, s: Tensor, order: int) -> Tensor:
        if self.envelope == "gaussian":
            return (-0.5) ** order * torch.exp(-s / 2)
        return matern_derivative(self.nu, s, order)

    @override
    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        frequencies = self.select_frequencies(frequencies, columns).unsqueeze(-2)
        means, widths = (
            t.to(frequencies).unsqueeze(-3) for t in (self.frequencies, self.lengthscales)
        )
        weights = self.weights.to(frequencies).unsqueeze(-2)

        def bump(offset: Tensor) -> Tensor:
            q = (2 * math.pi * offset * widths).square()
            if self.envelope == "gaussian":
                return widths * math.sqrt(2 * math.pi) * torch.exp(-q / 2)
            return widths * matern_density(self.nu, q, 1)

        both = (bump(frequencies - means) + bump(frequencies + means)) / 2
        return (weights * both.prod(dim=-1)).sum(dim=-1)

    @override
    def spectrum(self) -> list[SpectralTerm]:
        return [
            SpectralTerm(weight, (_Component(self, frequencies, width),))
            for frequencies, width, weight in zip(*self._entries(), strict=True)
        ]

    @override
    def arguments(self) -> dict[str, Any]:
        one_input = self.frequencies.shape[-1] == 1
        entries = {"frequencies": self.frequencies, "lengthscales": self.lengthscales}
        entries = {k: v[:, 0] if one_input else v for k, v in entries.items()}
        entries["weights"] = self.weights
        shown = {name: value.tolist() for name, value in entries.items()}
        last = {"nu": self.nu} if self.envelope == "student" else {}
        return {"envelope": self.envelope, **shown, **last}


@dataclass(frozen=True, slots=True, eq=False)
class _Component:
    """A bump at a frequency and at its mirror images, each sign as likely as the other."""

    kernel: SpectralMixture
    frequencies: Tensor
    lengthscales: Tensor

    def n_uniforms(self, d: int) -> int:
        del d
        columns = self.frequencies.shape[-1]
        return columns if self.kernel.envelope == "gaussian" else 2 * columns

    def waves(self, uniforms: Tensor, d: int) -> Waves:
        columns = self.frequencies.shape[-1]
        signs = torch.where(uniforms[:, :columns] < 0.5, -1.0, 1.0).to(uniforms)
        centres = signs * self.frequencies.to(uniforms)
        rates = 1 / (2 * math.pi * self.lengthscales.to(uniforms)).unsqueeze(0)
        radii = uniforms.new_ones(len(uniforms), 1)
        if self.kernel.envelope != "gaussian":
            drawn = student_radius(2 * self.kernel.nu, uniforms[:, columns:])
            radii = place(drawn, self.kernel.columns, d)
        of_kernel = self.kernel.columns
        return Waves(place(centres, of_kernel, d), radii, place(rates, of_kernel, d))


def _check_frequencies(value: Any) -> Tensor:
    remedy = "give finite numbers, (Q,) for one input or (Q, d) for d"
    try:
        entries = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError("frequencies", repr(value), remedy) from error
    if entries.dim() not in (1, 2) or entries.numel() == 0 or not entries.isfinite().all():
        raise ArgumentError("frequencies", str(value), remedy)
    return entries.unsqueeze(-1) if entries.dim() == 1 else entries


def _expand(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    try:
        return value.expand(shape)
    except RuntimeError as error:
        remedy = f"give one number, or as many as frequencies, {tuple(shape)}"
        raise ArgumentError(name, f"shape {tuple(value.shape)}", remedy) from error
