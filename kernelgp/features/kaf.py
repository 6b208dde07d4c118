"""The Kolmogorov-Arnold-Fourier layer: a smooth unit beside trained waves.

References
----------
*Kolmogorov-Arnold-Fourier networks*, 2025, section 3.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_floating

__all__ = ["KAFLinear"]

# The paper's: near the variance of GELU's slope, so that waves begin as broad as the other part.
_SPREAD = 1.64
_START = 1e-2


class KAFLinear(nn.Module):
    """``y = W (a GELU(x) + b s(LN(x))) + c`` with ``s(x) = C [cos(xΩ + β), sin(xΩ + β)] + e``.

    All of it is trained, Ω and β too; a and b are one number for each input.

    Parameters
    ----------
    in_features, out_features
    n_frequencies
        Columns of Ω, shared by all inputs.
    bias
        Whether there is a c.
    random_state : int, numpy Generator or RandomState, torch Generator, or None
    device, dtype

    Notes
    -----
    It has ``in * out + (3 in + 1) n_frequencies + 5 in + out`` numbers; a linear layer has
    ``in * out + out``.

    Examples
    --------
    >>> layer = KAFLinear(4, 3, random_state=0)
    >>> layer(torch.zeros(2, 4)).shape, sum(p.numel() for p in layer.parameters())
    (torch.Size([2, 3]), 139)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_frequencies: int = 8,
        *,
        bias: bool = True,
        random_state: RandomState = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        d, out = check_count("in_features", in_features), check_count("out_features", out_features)
        G = check_count("n_frequencies", n_frequencies)
        generator = as_generator(random_state)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_features, self.out_features, self.n_frequencies = d, out, G

        def normal(*shape: int, std: float) -> nn.Parameter:
            drawn = std * torch.randn(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(drawn.to(torch.empty(0, **where)))

        def uniform(*shape: int, limit: float) -> nn.Parameter:
            drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
            return nn.Parameter((limit * (2 * drawn - 1)).to(torch.empty(0, **where)))

        self.frequencies = normal(d, G, std=1 / math.sqrt(_SPREAD * d))
        self.phases = uniform(G, limit=math.pi)
        self.norm = nn.LayerNorm(d, **where)
        self.mixing = uniform(d, 2 * G, limit=math.sqrt(6 / (d + 2 * G)))
        self.offset = nn.Parameter(torch.zeros(d, **where))
        self.smooth_scale = nn.Parameter(torch.ones(d, **where))
        self.wave_scale = nn.Parameter(torch.full((d,), _START, **where))
        self.weight = uniform(out, d, limit=math.sqrt(6 / (d + out)))
        self.bias = nn.Parameter(torch.zeros(out, **where)) if bias else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        check_floating("x", x)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            remedy = f"give (..., {self.in_features})"
            raise ArgumentError("x", f"shape {tuple(x.shape)}", remedy)
        if x.dtype != self.weight.dtype:
            raise ArgumentError("x", str(x.dtype), f"convert it to {self.weight.dtype}")
        angles = self.norm(x) @ self.frequencies + self.phases
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        s = nn.functional.linear(waves, self.mixing, self.offset)
        inner = self.smooth_scale * nn.functional.gelu(x) + self.wave_scale * s
        return nn.functional.linear(inner, self.weight, self.bias)

    @override
    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, n_frequencies={self.n_frequencies}"
