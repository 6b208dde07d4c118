"""Neurons with the input and the weights apart: ``f(w·x + b) ≈ Ψ(w, b)·Φ(x)``.

A wave is ``e^{i w·x} = E_g [c e^{√i κ g·w - i w²/2}] [c e^{√i κ g·x - i x²/2}]`` over normal g,
with ``κ² = 1 + 4 M`` and ``c² = κ^d e^{-2 M g²}``: for every draw a complex number from the
weights times one from the input. M of 0 is the plain estimate, a larger one tames large inputs.

References
----------
A. Sehanobish et al., *Scalable neural network kernels*, ICLR 2024 (universal random features).
V. Likhosherstov et al., *Chefs' random tables*, 2022, for M.
"""

import math
import warnings
from typing import Any, Literal

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.arrays import from_torch, give_back
from kernelgp.errors import ArgumentError, NumericalWarning
from kernelgp.features.map import FeatureMap, Features
from kernelgp.features.overflow import refuse_overflow
from kernelgp.features.transformer import FeatureTransformer
from kernelgp.random import RandomState
from kernelgp.validation import check_choice, check_count, check_positive

__all__ = ["NEURONS", "UniversalFeatures", "UniversalMap"]

NEURONS = ("sin", "cos", "relu")
# Of the mean square norm: from there on 10 000 columns have an error above one.
_LARGE = 10.0


class UniversalMap(FeatureMap):
    """Φ of inputs as a module, and Ψ of weights beside it.

    Parameters
    ----------
    d, n_components
    activation
        One of `NEURONS`.
    square : float
        ``|w|² + |x|²`` as expected, which sets M.
    generator
    """

    draws: Tensor
    square: Tensor
    parts: Tensor

    def __init__(
        self,
        d: int,
        n_components: int,
        activation: str,
        square: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.activation = activation
        waves = activation != "relu"
        rows = -(-n_components // 2) if waves else n_components
        columns = d if waves else d + 1
        self.register_buffer("draws", torch.empty(rows, columns, dtype=torch.float64))
        self.register_buffer("square", torch.tensor(square, dtype=torch.float64))
        self.register_buffer("parts", torch.zeros((), dtype=torch.int64))
        self.draw_anew(generator)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        drawn = torch.randn(self.draws.shape, generator=generator, dtype=torch.float64)
        self.draws.copy_(drawn)
        self.parts.copy_(torch.randint(2, (), generator=generator))

    @override
    def prepare(self, like: Tensor) -> Features:
        draws = self.draws.to(like)
        if self.activation == "relu":
            root = math.sqrt(2 / self.n_components)

            def rectified(x: Tensor) -> Tensor:
                return root * (x @ draws[:, :-1].mT + draws[:, -1]).relu()

            return rectified
        kappa, offset = self._shape(like)

        def waves(x: Tensor) -> Tensor:
            return self._columns(*_wave(x, draws, kappa, offset))

        return waves

    def weights(self, w: Tensor, b: Tensor | None = None) -> Tensor:
        """Ψ of weights (k, d) and biases (k,), shape (k, n_components), with a graph to both."""
        draws = self.draws.to(w)
        if self.activation == "relu":
            b = w.new_zeros(len(w)) if b is None else b
            root = math.sqrt(2 / self.n_components)
            return root * (w @ draws[:, :-1].mT + b.unsqueeze(-1) * draws[:, -1]).relu()
        kappa, offset = self._shape(w)
        size, phase = _wave(w, draws, kappa, offset)
        shift = 0.0 if b is None else b.unsqueeze(-1)
        # Re(Ψ Φ) = Re Ψ Re Φ - Im Ψ Im Φ, and the sine is the real part of -i times the wave.
        turn = -math.pi / 2 if self.activation == "sin" else 0.0
        columns = self._columns(size, phase + shift + turn)
        signs = torch.ones(self.n_components, dtype=w.dtype, device=w.device)
        signs[1::2] = -1
        if self.n_components % 2 and self.parts.item():
            signs[-1] = -1
        return columns * signs

    def _shape(self, like: Tensor) -> tuple[float, Tensor]:
        """κ, and the log of c for every draw."""
        M = _spread(self.d, float(self.square))
        kappa = math.sqrt(1 + 4 * M)
        rows = len(self.draws)
        log = self.d / 2 * math.log(kappa) - M * self.draws.square().sum(dim=-1)
        return kappa, (log - math.log(rows) / 2).to(like)

    def _columns(self, log_size: Tensor, phase: Tensor) -> Tensor:
        """Real and imaginary parts in turn; of an odd number the last is one of them, doubled."""
        # Beyond that no estimate is worth anything, and `fit` has said so; finite it stays.
        size = log_size.clamp(max=0.9 * math.log(torch.finfo(log_size.dtype).max)).exp()
        pairs = torch.stack([size * phase.cos(), size * phase.sin()], dim=-1).flatten(-2)
        if self.n_components % 2 == 0:
            return pairs
        last = math.sqrt(2) * pairs[..., -2 + int(self.parts)]
        return torch.cat([pairs[..., :-2], last.unsqueeze(-1)], dim=-1)


def _wave(x: Tensor, draws: Tensor, kappa: float, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the size, and phase, of ``c exp(√i κ g·x - i x²/2)``."""
    turned = kappa / math.sqrt(2) * (x @ draws.mT)
    return turned + offset, turned - x.square().sum(dim=-1, keepdim=True) / 2


def _spread(d: int, square: float) -> float:
    """The M of least second moment ``κ^2d s^{d/2} exp(κ² s φ)``, s = 1 / (1 + 8 M), φ = square."""
    if square < 1e-12:
        return 0.0
    s = (math.sqrt((d + square) ** 2 + 4 * square * d) - d - square) / (2 * square)
    return max(0.0, (1 / s - 1) / 8)


class UniversalFeatures(FeatureTransformer):
    """Φ with ``f(w·x + b) ≈ Ψ(w, b)·Φ(x)`` for a neuron f: one set of features for all weights.

    Without bias for sines and cosines. The error grows as ``exp(|w|² + |x|²)``: scale inputs so
    that they and the weights have norms near one. For "relu" the function is its smooth
    relative, the arc-cosine kernel ``E relu(g·w̃) relu(g·x̃) * 2`` of inputs with a 1 appended and
    weights with the bias, which nothing approximates better, being exact in expectation.

    Parameters
    ----------
    activation : {"sin", "cos", "relu"}
        f.
    n_components
        Two columns make a complex number, of waves.
    weight_norm : float
        |w| as expected; with the inputs' mean square it sets how features are spread.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.normal(size=(20, 5)) / 5**0.5, rng.normal(size=(3, 5)) / 5**0.5
    >>> features = UniversalFeatures("sin", n_components=20_000, random_state=0).fit(X)
    >>> found = features.transform(X) @ features.weights(W).T
    >>> bool(np.abs(found - np.sin(X @ W.T)).mean() < 0.05)
    True
    """

    def __init__(
        self,
        activation: Literal["sin", "cos", "relu"] = "sin",
        n_components: int = 1024,
        *,
        weight_norm: float = 1.0,
        random_state: RandomState = None,
    ) -> None:
        self.activation: Literal["sin", "cos", "relu"] = activation
        self.n_components = n_components
        self.weight_norm = weight_norm
        self.random_state = random_state

    def weights(self, W: Any, b: Any = None) -> Any:
        """Ψ of weights (k, d) and biases (k,), shape (k, n_components)."""
        check_is_fitted(self)
        arrays = [
            None if a is None else torch.as_tensor(np.asarray(from_torch(a, None)[0], dtype=float))
            for a in (W, b)
        ]
        w, bias = arrays
        assert w is not None
        d = self._map.d
        if w.dim() != 2 or w.shape[1] != d:
            raise ArgumentError("W", f"shape {tuple(w.shape)}", f"give (k, {d})")
        if bias is not None and bias.shape != w.shape[:1]:
            raise ArgumentError("b", f"shape {tuple(bias.shape)}", f"give ({len(w)},)")
        made: Any = self._map
        with torch.no_grad():
            return give_back(made.weights(w, bias), W)

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("activation", self.activation, NEURONS)
        norm = float(check_positive("weight_norm", self.weight_norm, zero=True))
        return UniversalMap(d, self.n_components, self.activation, 2 * norm**2, generator)

    @override
    def _stream(self, array: Any, device: torch.device) -> Tensor:
        return refuse_overflow(super()._stream(array, device))

    @override
    def _look_at(self, array: Any) -> None:
        values = array.data if sparse.issparse(array) else array
        with np.errstate(over="ignore"):
            mean_square = float(np.square(values, dtype=np.float64).sum() / array.shape[0])
        if not math.isfinite(mean_square):
            given = f"values up to {np.abs(values).max():.3g}"
            raise ArgumentError("X", given, "rescale them: float64 cannot hold their squares")
        if self.activation != "relu" and mean_square > _LARGE:
            warnings.warn(
                f"UniversalFeatures: rows have a mean square norm of {mean_square:.3g}; the error "
                "grows with its exponential: scale them to a norm near one.",
                NumericalWarning,
                stacklevel=3,
            )
        self._map.get_buffer("square").fill_(mean_square + float(self.weight_norm) ** 2)

    @override
    def _read_kernel(self, d: int, default: Any) -> Any:
        check_count("n_components", self.n_components)
