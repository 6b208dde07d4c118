"""TensorSketch: features of polynomial kernels of any degree in one FFT.

References
----------
N. Pham and R. Pagh, *Fast and scalable polynomial kernels via explicit feature maps*, 2013.
"""

import math
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.features.map import FeatureMap, Features
from kernelgp.features.overflow import refuse_overflow
from kernelgp.features.transformer import FeatureTransformer
from kernelgp.kernels import Polynomial
from kernelgp.random import RandomState
from kernelgp.validation import check_count, check_positive

__all__ = ["PolynomialSketch", "SketchMap"]


class SketchMap(FeatureMap):
    """The product of `degree` count sketches of ``[√gamma x, √offset]``, by convolution.

    Parameters
    ----------
    d, n_components
    degree, offset, gamma
        Of the kernel ``(gamma x·y + offset)^degree``.
    generator
    """

    places: Tensor
    signs: Tensor

    def __init__(
        self,
        d: int,
        n_components: int,
        degree: int,
        offset: float,
        gamma: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.degree, self.offset, self.gamma = degree, offset, gamma
        self.register_buffer("places", torch.empty(degree, d + 1, dtype=torch.int64))
        self.register_buffer("signs", torch.empty(degree, d + 1, dtype=torch.float64))
        self.draw_anew(generator)

    @property
    def kernel(self) -> Any:
        """The kernel: gamma as a factor."""
        return self.gamma**self.degree * Polynomial(self.degree, self.offset / self.gamma)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        shape = self.places.shape
        self.places.copy_(torch.randint(self.n_components, shape, generator=generator))
        self.signs.copy_(2 * torch.randint(2, shape, generator=generator) - 1)

    @override
    def prepare(self, like: Tensor) -> Features:
        scale, last = math.sqrt(self.gamma), math.sqrt(self.offset)
        signs, places, D = self.signs.to(like), self.places, self.n_components

        def features(x: Tensor) -> Tensor:
            flat = x.reshape(-1, self.d)
            product = None
            for h in range(self.degree):
                values = scale * flat * signs[h, :-1]
                sketch = x.new_zeros(len(flat), D).index_add(1, places[h, :-1], values)
                one = x.new_zeros(D).index_put((places[h, -1],), last * signs[h, -1])
                wave = torch.fft.rfft(sketch + one)
                product = wave if product is None else product * wave
            assert product is not None
            return torch.fft.irfft(product, n=D).reshape(*x.shape[:-1], D)

        return features


class PolynomialSketch(FeatureTransformer):
    """Features whose inner products are, on average, ``(gamma x·y + offset)^degree``.

    Costs O(degree (d + D log D)) for a row, however many monomials there are. The standard
    deviation of an entry is near ``√(3^degree / D)`` times that of the kernel's diagonal: small
    kernels need many columns, and up to a few thousand monomials scikit-learn's
    `PolynomialFeatures` is exact.

    Parameters
    ----------
    degree
    n_components
    offset : float
        Not negative.
    gamma : float
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(50, 5)) / 5**0.5
    >>> Z = PolynomialSketch(2, n_components=8192, random_state=0).fit_transform(X)
    >>> K = (X @ X.T + 1) ** 2
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.05 * np.linalg.norm(K))
    True
    """

    def __init__(
        self,
        degree: int = 2,
        n_components: int = 1024,
        *,
        offset: float = 1.0,
        gamma: float = 1.0,
        random_state: RandomState = None,
    ) -> None:
        self.degree = degree
        self.n_components = n_components
        self.offset = offset
        self.gamma = gamma
        self.random_state = random_state

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        degree = check_count("degree", self.degree)
        offset = float(check_positive("offset", self.offset, zero=True))
        gamma = float(check_positive("gamma", self.gamma))
        return SketchMap(d, self.n_components, degree, offset, gamma, generator)

    @override
    def _stream(self, array: Any, device: torch.device) -> Tensor:
        return refuse_overflow(super()._stream(array, device))

    @override
    def _kernel_of(self, found: Any) -> Any:
        return found.kernel

    @override
    def _read_kernel(self, d: int, default: Any) -> Any:
        check_count("n_components", self.n_components)
