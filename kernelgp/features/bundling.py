"""A trained feed-forward network as random features of its own kind and one linear layer.

References
----------
A. Sehanobish et al., *Scalable neural network kernels*, ICLR 2024, section 3.3: bundling. With a
squared error the weights of a bundled network are ridge regression's.
"""

from collections import OrderedDict
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.features.map import FeatureMap, Features
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_finite, check_floating, check_positive

__all__ = ["BundledMap", "bundle"]

_ACTIVATIONS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
)
# Ridges tried, as shares of the features' largest eigenvalue.
_RIDGES = torch.logspace(-12, 0, 49, dtype=torch.float64)


class BundledMap(FeatureMap):
    """Layers of random neurons, with a network's activations and the spread of its neurons' inputs.

    Parameters
    ----------
    d, n_components
    activations : list of Module
        One for each layer.
    scales : list of float
        Standard deviations of what goes into them.
    generator
    """

    shift: Tensor
    rate: Tensor

    def __init__(
        self,
        d: int,
        n_components: int,
        activations: list[nn.Module],
        scales: list[float],
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.activations, self.scales = nn.ModuleList(activations), scales
        self.register_buffer("shift", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("rate", torch.ones(d, dtype=torch.float64))
        for h in range(len(activations)):
            columns = d if h == 0 else n_components
            self.register_buffer(f"weights{h}", torch.empty(n_components, columns))
            self.register_buffer(f"biases{h}", torch.empty(n_components))
            # Of the features of the layer before, over the rows that were given.
            self.register_buffer(f"norm{h}", torch.ones((), dtype=torch.float64))
        self.draw_anew(generator)

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        for h in range(len(self.activations)):
            for name in (f"weights{h}", f"biases{h}"):
                found = self.get_buffer(name)
                found.copy_(torch.randn(found.shape, generator=generator))

    def look_at(self, x: Tensor) -> None:
        """Scale inputs, and the layers' features, by what they are on these rows."""
        mean, std = x.double().mean(dim=0), x.double().std(dim=0)
        self.shift.copy_(mean)
        self.rate.copy_(torch.where(std > 0, 1 / std.clamp(min=1e-300), 0.0))
        z = (x.double() - mean) * self.rate
        for h in range(len(self.activations)):
            self.get_buffer(f"norm{h}").copy_(z.square().sum(dim=-1).mean().sqrt().clamp(min=1e-9))
            z = self._layer(h, z)

    @override
    def prepare(self, like: Tensor) -> Features:
        def features(x: Tensor) -> Tensor:
            z = (x - self.shift.to(x)) * self.rate.to(x)
            for h in range(len(self.activations)):
                z = self._layer(h, z)
            return z

        del like
        return features

    def _layer(self, h: int, z: Tensor) -> Tensor:
        weights, biases = (self.get_buffer(f"{name}{h}").to(z) for name in ("weights", "biases"))
        norm = self.get_buffer(f"norm{h}").to(z)
        return self.activations[h](self.scales[h] * (z @ weights.mT / norm + biases))


def bundle(
    model: nn.Module,
    X: Tensor,
    y: Tensor | None = None,
    *,
    n_components: int = 512,
    ridge: float | None = None,
    random_state: RandomState = None,
) -> nn.Sequential:
    """A network of the same depth and activations whose only trained weights are a linear layer's.

    The hidden layers become random ones (see `BundledMap`), which need not be stored but for their
    seed; the last has its weights in closed form, by ridge regression on the rows given. It can
    be trained on as any module.

    Parameters
    ----------
    model : Sequential
        Linear layers and elementwise activations between them, a Linear last; Dropout, Identity
        and a Flatten at the start are allowed.
    X : Tensor, shape (n, ...)
        Rows as the model takes them, a few times n_components or more.
    y : Tensor, shape (n,) or (n, k), optional
        What to predict: numbers, or whole numbers for classes, of which each output is to
        indicate one. By default what the model says of X.
    n_components
        Neurons of each random layer.
    ridge : float, optional
        Added to the diagonal of ``ΦᵀΦ``; by default that of least generalised cross-validation.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Returns
    -------
    Sequential
        ``features`` (a `BundledMap`, behind the Flatten where there is one) and ``readout``, a
        Linear.

    Raises
    ------
    ArgumentTypeError
        If `model` is no `Sequential`.
    ArgumentError
        If one of its layers cannot be bundled, or X, y do not fit it.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> X = torch.randn(500, 3)
    >>> small = bundle(net, X, n_components=64, random_state=0)
    >>> bool((small(X) - net(X)).std() < 0.05 * net(X).std())
    True
    """
    flatten, layers = _read_model(model)
    m = check_count("n_components", n_components)
    check_finite("X", check_floating("X", X))
    first = cast(nn.Linear, layers[0])
    like = first.weight
    if X.dtype != like.dtype or X.device != like.device:
        given = f"{X.dtype} on {X.device}"
        raise ArgumentError("X", given, f"give {like.dtype} on {like.device}, as the model's")
    x = X.flatten(1) if flatten and X.dim() > 2 else X
    if x.dim() != 2 or x.shape[1] != first.in_features or len(x) < 2:
        remedy = f"give (n, {first.in_features}), two rows or more"
        raise ArgumentError("X", f"shape {tuple(X.shape)}", remedy)
    with torch.no_grad():
        outputs, scales = _run(layers, x)
        targets = _targets(y, outputs).double()
        activations = [deepcopy(a) for a in layers if not isinstance(a, nn.Linear)]
        made = BundledMap(x.shape[1], m, activations, scales, as_generator(random_state))
        features = made.to(X.device)
        features.look_at(x)
        weight, bias = _ridge(features(x.double()), targets, ridge)
        readout = nn.Linear(m, targets.shape[1], device=X.device, dtype=X.dtype)
        readout.weight.copy_(weight.mT)
        readout.bias.copy_(bias)
    front = nn.Sequential(nn.Flatten(1), features) if flatten else features
    return nn.Sequential(OrderedDict(features=front, readout=readout))


def _read_model(model: Any) -> tuple[bool, list[nn.Module]]:
    """Whether it begins with a Flatten, and its linear layers and activations in order."""
    if not isinstance(model, nn.Sequential):
        raise ArgumentTypeError("model", type(model).__name__, "give a torch.nn.Sequential")
    layers = [a for a in _flat(model) if not isinstance(a, nn.Dropout | nn.Identity)]
    flatten = bool(layers) and isinstance(layers[0], nn.Flatten)
    layers = layers[1:] if flatten else layers
    linear_before = False
    for layer in layers:
        if not isinstance(layer, (nn.Linear, *_ACTIVATIONS)):
            remedy = "bundle the Linear layers and elementwise activations before and after it"
            raise ArgumentError("model", f"a {type(layer).__name__}, which has no features", remedy)
        if not isinstance(layer, nn.Linear) and not linear_before:
            given = f"a {type(layer).__name__} that follows no Linear"
            raise ArgumentError("model", given, "give Linear layers with activations between")
        linear_before = isinstance(layer, nn.Linear)
    activated = sum(not isinstance(layer, nn.Linear) for layer in layers)
    if not activated or not linear_before:
        given = f"{len(layers) - activated} Linear layers and {activated} activations"
        remedy = "give Linear, activation, ..., Linear: the last gives the outputs"
        raise ArgumentError("model", given, remedy)
    return flatten, layers


def _flat(model: nn.Sequential) -> Iterator[nn.Module]:
    """The layers in the order they run; one that stands twice runs twice."""
    for layer in model:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


def _run(layers: list[nn.Module], x: Tensor) -> tuple[Tensor, list[float]]:
    """Outputs, and the root mean square of what goes into each activation."""
    scales = []
    for layer in layers:
        if not isinstance(layer, nn.Linear):
            scales.append(max(float(x.double().square().mean().sqrt()), 1e-9))
        x = layer(x)
    return x, scales


def _targets(y: Any, outputs: Tensor) -> Tensor:
    """What to regress on, (n, k)."""
    if y is None:
        return outputs
    if not isinstance(y, Tensor):
        raise ArgumentTypeError("y", type(y).__name__, "give a torch tensor")
    n, k = outputs.shape
    if y.is_floating_point():
        columns = y.unsqueeze(-1) if y.dim() == 1 else y
        if columns.shape != (n, k):
            raise ArgumentError("y", f"shape {tuple(y.shape)}", f"give ({n}, {k})")
        return check_finite("y", columns)
    if y.shape != (n,) or (n and not 0 <= int(y.min()) <= int(y.max()) < k):
        given = f"shape {tuple(y.shape)}, classes {int(y.min())} to {int(y.max())}"
        raise ArgumentError("y", given, f"give ({n},) classes from 0 to {k - 1}")
    return nn.functional.one_hot(y.long(), k).to(outputs.device)


def _ridge(Z: Tensor, targets: Tensor, ridge: float | None) -> tuple[Tensor, Tensor]:
    """Weights (m, k) and intercepts (k,) of ridge regression."""
    mean, centre = Z.mean(dim=0), targets.mean(dim=0)
    U, s, Vt = torch.linalg.svd(Z - mean, full_matrices=False)
    projected = U.mT @ (targets - centre)
    squares = s.square()
    if ridge is None:
        rest = (targets - centre).square().sum() - projected.square().sum()
        best = (float("inf"), 0.0)
        for share in _RIDGES.to(squares) * squares.max().clamp(min=1e-300):
            left = share / (squares + share)
            residual = rest + (left.unsqueeze(-1) * projected).square().sum()
            freedom = len(Z) - 1 - (1 - left).sum()
            score = float(residual / freedom**2) if freedom > 0 else float("inf")
            best = min(best, (score, float(share)))
        ridge = best[1]
    else:
        check_positive("ridge", ridge, zero=True)
    shrunk = torch.where(s > 1e-12 * s.max(), s / (squares + ridge).clamp(min=1e-300), 0.0)
    weight = Vt.mT @ (shrunk.unsqueeze(-1) * projected)
    return weight, centre - mean @ weight
