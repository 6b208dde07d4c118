"""Positive features: exponentials of random projections, computed as logarithms.

A Gaussian kernel is ``E[exp(w·u - |u|²) exp(w·v - |v|²)]`` over standard normals w, for points u, v
in lengthscales. So is every mixture of Gaussian kernels, with a scale for every w: Matérn and
rational quadratic kernels, sums and products. The variance grows as ``exp(|u + v|²)``; a kernel
of differences lets the points be moved to where that is small, their centre.

References
----------
K. Choromanski et al., *Rethinking attention with performers*, 2021, for "positive" and
"hyperbolic"; V. Likhosherstov, K. Choromanski, A. Dubey, F. Liu, T. Sarlos and A. Weller, *Chefs'
random tables*, 2022, for "optimal"; K. Choromanski et al., *Hybrid random features*, 2022.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.features.coupling import Coupling, Rotation
from kernelgp.features.fourier_map import FourierMap
from kernelgp.features.frequencies import Frequencies
from kernelgp.features.map import FeatureMap, Features

__all__ = ["Exponential", "HybridMap", "PositiveMap", "optimal_curvature"]

Exponential = Literal["positive", "hyperbolic", "optimal"]


_LEAST_HYBRID = 6


class PositiveMap(FeatureMap):
    """``exp(w·u - |u|²)``, the same with ``-w`` beside it, or ``c exp(A |w|² + b w·u - |u|²)``.

    Parameters
    ----------
    kernel : Kernel
        As `kernelgp.features.sampler.read_kernel` returns it; a mixture of Gaussian kernels.
    d, n_components
    coupling, rotation
        As for `sample_frequencies`.
    form : {"positive", "hyperbolic", "optimal"}
    generator

    Attributes
    ----------
    location : Tensor, shape (d,)
        What is subtracted from points.
    second_moments : Tensor, shape (d,)
        Mean squares of the points about it, for "optimal"; 1 until data are seen.
    """

    location: Tensor
    second_moments: Tensor

    def __init__(
        self,
        kernel: Any,
        d: int,
        n_components: int,
        coupling: Coupling,
        rotation: Rotation,
        form: Exponential,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.form: Exponential = form
        self.n_pairs = n_components // 2 if form == "hyperbolic" else 0
        columns = torch.ones(n_components - self.n_pairs, dtype=torch.float64)
        columns[: self.n_pairs] = 2
        self.frequencies = Frequencies(kernel, d, columns, coupling, rotation, generator)
        self.register_buffer("location", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("second_moments", torch.ones(d, dtype=torch.float64))

    def centre(self, mean: Tensor, variance: Tensor) -> None:
        """Move the points by their mean."""
        self.location.copy_(mean)
        self.second_moments.copy_(variance)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        self.frequencies.redraw(generator)

    @override
    def prepare(self, like: Tensor) -> Features:
        logs = self.prepare_logs(like)
        # Nothing of the size of a kernel's values is cut: exponents so large are those of points
        # that no feature describes, and infinity would spoil all products.
        limit = math.log(torch.finfo(like.dtype).max) / 2
        return lambda x: logs(x).clamp(max=limit).exp()

    def prepare_logs(self, like: Tensor) -> Features:
        """Logarithms of the features, for sums that are stabilised elsewhere."""
        scales = 2 * math.pi * self.frequencies.spreads()
        directions = 2 * math.pi * self.frequencies()
        shift = self.frequencies.amplitudes().log()
        if self.form == "optimal":
            seen = scales > 0
            normals = torch.where(seen, directions / torch.where(seen, scales, 1.0), 0.0)
            spread = 2 * (scales.detach().square() * self.second_moments).sum(dim=-1)
            count = seen.sum(dim=-1)
            curvature = optimal_curvature(spread, count)
            stretch = 1 - 4 * curvature
            shift = shift + curvature * normals.square().sum(dim=-1) + count / 4 * stretch.log()
            directions = stretch.sqrt().unsqueeze(-1) * directions
        weights, squares = directions.to(like).mT, scales.square().to(like).mT
        same = bool((scales == scales[:1]).all())
        shift, location, pairs = shift.to(like), self.location.to(like), self.n_pairs

        def logs(x: Tensor) -> Tensor:
            moved = x - location
            # One column of squares where all rows have one scale, as of a Gaussian kernel.
            length = moved.square() @ (squares[:, :1] if same else squares)
            projected = moved @ weights
            above = projected - length + shift
            if not pairs:
                return above
            below = (-projected - length + shift)[..., :pairs] - math.log(2) / 2
            paired = above[..., :pairs] - math.log(2) / 2
            return torch.cat([paired, below, above[..., pairs:]], dim=-1)

        return logs


class HybridMap(FeatureMap):
    """Waves where points are near, positive features where they are opposite.

    ``K ~ (1 - θ/π) K_waves + θ/π K_positive`` for the angle θ between two points about the
    centre, which signs of random projections estimate. Waves are exact at θ = 0 and equal points,
    positive features at opposite ones. The second term is a difference: features of the columns
    whose `signature` is -1 are subtracted, ``K ~ Z diag(signature) Zᵀ``.

    Parameters
    ----------
    kernel, d, n_components, coupling, rotation, generator
        As for `PositiveMap`; of the columns, those that do not fill a product are zero. Fewer
        than six are waves alone.
    """

    directions: Tensor
    signature: Tensor

    def __init__(
        self,
        kernel: Any,
        d: int,
        n_components: int,
        coupling: Coupling,
        rotation: Rotation,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        # One sign. Of 256 columns at 8 inputs, in relative Frobenius norm, mean of 10 draws, with
        # 1, 3, 7 and 15 signs: 0.42, 0.46, 0.92, 0.99; shorter products leave more of the rest.
        self.copies = 2 if n_components >= _LEAST_HYBRID else 1
        base = n_components // self.copies
        n_waves = 2 * ((base + 2) // 4) if self.copies > 1 else base
        even: Coupling = "orthogonal" if coupling.startswith("simplex") else coupling
        self.waves = FourierMap(kernel, d, n_waves, even, rotation, "sincos", generator)
        # With waves alone, one that is not used: the centre is kept in it.
        self.exponentials = PositiveMap(
            kernel, d, max(1, base - n_waves), coupling, rotation, "positive", generator
        )
        self.register_buffer("directions", _directions(self.copies - 1, d, generator))
        signature = torch.ones(n_components, dtype=torch.float64)
        signature[base + n_waves * (self.copies - 1) : base * self.copies] = -1
        self.register_buffer("signature", signature)

    @property
    def frequencies(self) -> Frequencies:
        return self.exponentials.frequencies

    def centre(self, mean: Tensor, variance: Tensor) -> None:
        """Move the points by their mean."""
        self.exponentials.centre(mean, variance)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        self.waves.draw_anew(generator)
        self.exponentials.draw_anew(generator)
        self.directions.copy_(_directions(self.copies - 1, self.d, generator))

    @override
    def prepare(self, like: Tensor) -> Features:
        waves, exponentials = self.waves.prepare(like), self.exponentials.prepare(like)
        if self.copies == 1:
            return waves
        location = self.exponentials.location.to(like)
        scales = self.frequencies.spreads().detach().mean(dim=0)
        directions = (self.directions * scales).to(like).mT
        left = self.n_components - self.copies * (
            self.waves.n_components + self.exponentials.n_components
        )

        def features(x: Tensor) -> Tensor:
            signs = torch.where((x - location) @ directions < 0, -1.0, 1.0).to(x)
            signs = signs / math.sqrt(self.copies - 1)
            parts = [math.sqrt(0.5) * made(x) for made in (waves, exponentials)]
            products = [(part.unsqueeze(-1) * signs.unsqueeze(-2)).flatten(-2) for part in parts]
            zeros = x.new_zeros(*x.shape[:-1], left)
            return torch.cat([*parts, *products, zeros], dim=-1)

        return features


def optimal_curvature(spread: Tensor, d: Tensor) -> Tensor:
    """The A of least variance where ``|u + v|²`` is `spread` on average, of d inputs.

    Its second moment is ``(1 - 8 A)`` and its powers; the root of its derivative, with
    ``r = 1 / (1 - 8 A)``, is that of ``2 spread r² + (2 spread + d) r - d``.
    """
    seen = spread.clamp(min=torch.finfo(spread.dtype).tiny)
    total = 2 * seen + d
    # Without the difference of nearly equal numbers that the usual root has for small spreads.
    r = 2 * d / (total + (total.square() + 8 * d * seen).sqrt()).clamp(min=1e-300)
    return torch.where(d > 0, (1 - 1 / r.clamp(min=1e-300)) / 8, 0.0)


def _directions(n: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)
