"""Layers of neurons whose weights are a few numbers each, whatever the width of their input.

References
----------
A. Sehanobish et al., *Scalable neural network kernels*, ICLR 2024.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.features.universal import NEURONS, UniversalMap
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_choice, check_count, check_floating

__all__ = ["SNNKLinear"]


class SNNKLinear(nn.Module):
    """A feed-forward layer ``f(W x + b)`` as ``Ψ Φ(x)``: fixed features Φ, and trained weights Ψ.

    It trains ``out_features * n_components`` numbers, and not ``out_features * (in_features + 1)``.
    The features are those of `UniversalFeatures`.

    Parameters
    ----------
    in_features, out_features
    n_components
        Numbers of a neuron.
    activation : {"relu", "sin", "cos"}
        f, built in: no activation follows. "relu" is the arc-cosine kernel of weights and input.
    bias
        Whether to train a constant added to the output.
    random_state : int, numpy Generator or RandomState, torch Generator, or None
        Of the features and the initial weights, which are those of a torch `Linear`.
    device, dtype
        Of the trained weights.

    Examples
    --------
    >>> layer = SNNKLinear(64, 10, n_components=16, random_state=0)
    >>> layer(torch.zeros(3, 64)).shape, layer.weight.numel()
    (torch.Size([3, 10]), 160)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_components: int = 64,
        *,
        activation: Literal["relu", "sin", "cos"] = "relu",
        bias: bool = True,
        random_state: RandomState = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        d, out = check_count("in_features", in_features), check_count("out_features", out_features)
        check_choice("activation", activation, NEURONS)
        m = check_count("n_components", n_components)
        generator = as_generator(random_state)
        # Weights of a torch layer have a mean square of 1 / (3 d), and inputs one near 1 a column.
        self.features = UniversalMap(d, m, activation, d + 1 / 3, generator)
        limit = d**-0.5
        draws = torch.rand(out, d + 1, generator=generator, dtype=torch.float64)
        start = limit * (2 * draws - 1)
        weight = self.features.weights(start[:, :-1], start[:, -1])
        like = torch.empty(0, device=device, dtype=dtype)
        self.in_features, self.out_features = d, out
        self.features.to(like.device)
        self.weight = nn.Parameter(weight.to(like))
        self.bias = nn.Parameter(torch.zeros(out).to(like)) if bias else None

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        n_components: int,
        *,
        activation: Literal["relu", "sin", "cos"] = "sin",
        random_state: RandomState = None,
    ) -> "SNNKLinear":
        """The layer that approximates ``f(linear(x))``, its Ψ computed from the weights.

        Parameters
        ----------
        linear
        n_components, activation, random_state
            As for the class. The error falls as ``1 / √n_components`` and grows with the norms of
            the weights and inputs; for a trained network `bundle` fits the weights to data.

        Raises
        ------
        ArgumentTypeError
            If `linear` is no `torch.nn.Linear`.
        """
        if not isinstance(linear, nn.Linear):
            raise ArgumentTypeError("linear", type(linear).__name__, "give a torch.nn.Linear")
        w = linear.weight.detach()
        layer = cls(
            linear.in_features,
            linear.out_features,
            n_components,
            activation=activation,
            bias=False,
            random_state=random_state,
            device=w.device,
            dtype=w.dtype,
        )
        norm = w.double().square().sum(dim=-1).mean()
        layer.features.square.fill_(2 * float(norm))
        with torch.no_grad():
            layer.weight.copy_(layer.features.weights(w, linear.bias))
        return layer

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        check_floating("x", x)
        if x.dtype != self.weight.dtype:
            raise ArgumentError("x", str(x.dtype), f"convert it to {self.weight.dtype}")
        return nn.functional.linear(self.features(x), self.weight, self.bias)

    @override
    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"
