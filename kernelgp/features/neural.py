"""Features of wide random networks: arc-cosine kernels, and layer on layer of them (NNGP).

References
----------
Y. Cho and L. K. Saul, *Kernel methods for deep learning*, 2009, equations (1) to (6).
R. Neal, *Priors for infinite networks*, 1996, and C. K. I. Williams, *Computing with infinite
networks*, 1997, equation (11), for erf.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import override

from kernelgp.arrays import from_torch, give_back
from kernelgp.features.coupling import Coupling, draw_standard
from kernelgp.features.map import FeatureMap, Features
from kernelgp.features.overflow import refuse_overflow
from kernelgp.features.sampler import dense_normals
from kernelgp.features.transformer import FeatureTransformer, validate_data
from kernelgp.random import RandomState
from kernelgp.validation import check_choice, check_count, check_floating, check_positive

__all__ = ["ArcCosineFeatures", "NNGPFeatures", "NetworkMap", "nngp_kernel"]

_COUPLINGS = ("iid", "orthogonal")


@dataclass(frozen=True)
class _Activation:
    """A function s, and ``E s(u) s(v)`` of normal u and v with variances a, b and covariance c."""

    apply: Callable[[Tensor], Tensor]
    covariance: Callable[[Tensor, Tensor, Tensor], Tensor]


def _angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    # By both coordinates: arccos alone loses half the digits where the angle is small.
    return torch.atan2((a * b - c * c).clamp(min=0).sqrt(), c)


def _degree_zero(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.where(a * b > 0, 1 - _angle(a, b, c) / math.pi, 0.0)


def _degree_one(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    angle = _angle(a, b, c)
    return (a * b).sqrt() * (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi


def _degree_two(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    angle = _angle(a, b, c)
    cos, sin = angle.cos(), angle.sin()
    return a * b * (3 * sin * cos + (math.pi - angle) * (1 + 2 * cos**2)) / math.pi


def _erf_covariance(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return 2 / math.pi * torch.asin(2 * c / ((1 + 2 * a) * (1 + 2 * b)).sqrt())


# Half of a normal's square lies above zero: the root of two makes the variance that of the input.
_ROOT2 = math.sqrt(2)
_ACTIVATIONS = {
    "step": _Activation(lambda z: _ROOT2 * (z > 0).to(z.dtype), _degree_zero),
    "relu": _Activation(lambda z: _ROOT2 * z.relu(), _degree_one),
    "squared_relu": _Activation(lambda z: _ROOT2 * z.relu().square(), _degree_two),
    "erf": _Activation(torch.erf, _erf_covariance),
}
_ORDERS = ("step", "relu", "squared_relu")


@torch.no_grad()
def nngp_kernel(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int = 1,
    activation: Literal["relu", "step", "squared_relu", "erf"] = "relu",
    bias_variance: float = 0.0,
) -> Tensor:
    """The kernel of a network of infinite width, (n, m); without a graph.

    ``Σ_0 = x·y`` and ``Σ_h = E s(u) s(v)`` for normal u, v of covariance ``Σ_{h-1} + bias``.

    Parameters
    ----------
    x1 : Tensor, shape (n, d)
    x2 : Tensor, shape (m, d), default x1
    depth
        Hidden layers.
    activation
        "relu", "step" and "squared_relu" are the arc-cosine kernels of order 1, 0 and 2 (times
        the root of two in each layer, so that relu keeps ``|x|²`` on the diagonal).
    bias_variance
        Of the biases of every layer, the first included.

    Examples
    --------
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> nngp_kernel(x)  # |x| |y| / π at a right angle
    tensor([[1.0000, 0.3183],
            [0.3183, 1.0000]], dtype=torch.float64)
    """
    check_choice("activation", activation, list(_ACTIVATIONS))
    check_count("depth", depth)
    bias = float(check_positive("bias_variance", bias_variance, zero=True))
    check_floating("x1", x1)
    x2 = x1 if x2 is None else check_floating("x2", x2)
    covariance = _ACTIVATIONS[activation].covariance
    a, b = x1.square().sum(-1, keepdim=True), x2.square().sum(-1).unsqueeze(-2)
    c = x1 @ x2.mT
    for _ in range(depth):
        a, b, c = a + bias, b + bias, c + bias
        a, b, c = covariance(a, a, a), covariance(b, b, b), covariance(a, b, c)
    return c


class NetworkMap(FeatureMap):
    """``z_h = s(G_h [z_{h-1}, bias]) / √width`` with standard normal G_h.

    Parameters
    ----------
    d, n_components
    widths : sequence of int
        Of the hidden layers before the last.
    activation, bias_variance
        As for `nngp_kernel`.
    coupling : {"iid", "orthogonal"}
        Of the rows of G_h.
    generator
    """

    def __init__(
        self,
        d: int,
        n_components: int,
        widths: Sequence[int],
        activation: str,
        bias_variance: float,
        coupling: Coupling,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.activation, self.coupling = activation, coupling
        self.bias = math.sqrt(bias_variance)
        sizes = [d, *widths, n_components]
        self.n_layers = len(sizes) - 1
        for h in range(self.n_layers):
            columns = sizes[h] + (1 if self.bias else 0)
            # In single precision: a layer of 4096 has 67 MB.
            self.register_buffer(f"weights{h}", torch.empty(sizes[h + 1], columns))
        self.draw_anew(generator)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        for weights in self.buffers():
            if self.coupling == "iid":
                drawn = torch.randn(weights.shape, generator=generator)
            else:
                rows, columns = weights.shape
                draw = draw_standard(rows, columns, 0, "orthogonal", "haar", generator)
                drawn = dense_normals(draw, columns)
            weights.copy_(drawn)

    @override
    def prepare(self, like: Tensor) -> Features:
        apply = _ACTIVATIONS[self.activation].apply
        layers = [self.get_buffer(f"weights{h}").to(like).mT for h in range(self.n_layers)]

        def features(x: Tensor) -> Tensor:
            for weights in layers:
                z = x @ weights if not self.bias else x @ weights[:-1] + self.bias * weights[-1]
                x = apply(z) / math.sqrt(weights.shape[-1])
            return x

        return features


class _NetworkFeatures(FeatureTransformer):
    """What the two transformers share: there is no kernel to give, but one in closed form."""

    @property
    def _shape(self) -> tuple[int, str, float]:
        """Depth, activation and variance of the biases."""
        raise NotImplementedError

    def exact(self, X: Any, Y: Any = None) -> Any:
        """The kernel that the features approximate, (n, m), in closed form."""
        check_is_fitted(self)
        arrays = [
            validate_data(self, from_torch(A, None)[0], reset=False, dtype=np.float64)
            for A in ((X,) if Y is None else (X, Y))
        ]
        depth, activation, bias = self._shape
        choices: Any = {"depth": depth, "activation": activation, "bias_variance": bias}
        return give_back(nngp_kernel(*map(torch.from_numpy, arrays), **choices), X)

    @override
    def _stream(self, array: Any, device: torch.device) -> Tensor:
        return refuse_overflow(super()._stream(array, device))

    @override
    def _read_kernel(self, d: int, default: Any) -> Any:
        check_count("n_components", self.n_components)


class ArcCosineFeatures(_NetworkFeatures):
    """Powers of rectified random projections: ``Z Zᵀ`` approximates an arc-cosine kernel.

    Parameters
    ----------
    order : {1, 0, 2}
        0 is the step, 1 the rectifier, 2 its square.
    n_components
    coupling : {"orthogonal", "iid"}
        Of the projections.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    See Also
    --------
    NNGPFeatures : several layers.

    References
    ----------
    Y. Cho and L. K. Saul, *Kernel methods for deep learning*, 2009.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> features = ArcCosineFeatures(n_components=4096, random_state=0)
    >>> Z = features.fit_transform(X)
    >>> K = features.exact(X)
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.05 * np.linalg.norm(K))
    True
    """

    def __init__(
        self,
        order: int = 1,
        n_components: int = 1024,
        *,
        coupling: Literal["orthogonal", "iid"] = "orthogonal",
        random_state: RandomState = None,
    ) -> None:
        self.order = order
        self.n_components = n_components
        self.coupling: Literal["orthogonal", "iid"] = coupling
        self.random_state = random_state

    @property
    @override
    def _shape(self) -> tuple[int, str, float]:
        return 1, _ORDERS[self.order], 0.0

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("order", self.order, [0, 1, 2])
        check_choice("coupling", self.coupling, _COUPLINGS)
        _, activation, bias = self._shape
        return NetworkMap(d, self.n_components, [], activation, bias, self.coupling, generator)


class NNGPFeatures(_NetworkFeatures):
    """The last hidden layer of a wide random network: ``Z Zᵀ`` approximates its NNGP kernel.

    The error falls as ``1 / √width``; `exact` has the kernel in closed form, and is the better
    choice where n rows squared fit into memory.

    Parameters
    ----------
    depth
        Hidden layers.
    n_components
        Width of the last, and the number of columns.
    activation : {"relu", "step", "squared_relu", "erf"}
    width : int, optional
        Of the other hidden layers; n_components by default. A layer costs O(width²) for a row.
    bias_variance
        Of the biases; without them the kernel of relu knows directions only.
    coupling : {"orthogonal", "iid"}
        Of the rows of a layer's weights. The error of one layer is a fifth to a half smaller;
        drawing costs O(width³).
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    References
    ----------
    *Multi-layer random features and the approximation power of neural networks*, 2024.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> features = NNGPFeatures(depth=2, n_components=2048, random_state=0)
    >>> Z = features.fit_transform(X)
    >>> K = features.exact(X)
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.15 * np.linalg.norm(K))
    True
    """

    def __init__(
        self,
        depth: int = 2,
        n_components: int = 1024,
        *,
        activation: Literal["relu", "step", "squared_relu", "erf"] = "relu",
        width: int | None = None,
        bias_variance: float = 0.0,
        coupling: Literal["orthogonal", "iid"] = "iid",
        random_state: RandomState = None,
    ) -> None:
        self.depth = depth
        self.n_components = n_components
        self.activation: Literal["relu", "step", "squared_relu", "erf"] = activation
        self.width = width
        self.bias_variance = bias_variance
        self.coupling: Literal["orthogonal", "iid"] = coupling
        self.random_state = random_state

    @property
    @override
    def _shape(self) -> tuple[int, str, float]:
        return self.depth, self.activation, self.bias_variance

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("activation", self.activation, list(_ACTIVATIONS))
        check_choice("coupling", self.coupling, _COUPLINGS)
        depth = check_count("depth", self.depth)
        width = self.n_components if self.width is None else check_count("width", self.width)
        bias = float(check_positive("bias_variance", self.bias_variance, zero=True))
        widths = [width] * (depth - 1)
        return NetworkMap(
            d, self.n_components, widths, self.activation, bias, self.coupling, generator
        )
