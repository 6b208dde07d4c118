"""Attention on grids, whose keys are the means along each axis instead of every cell.

If a feature map has a matrix-normal distribution, its row and column means say what the map
says about its mean, and they are n1 + n2 tokens where the map has n1 n2.

References
----------
Gao, Wang and Ji, *Kronecker Attention Networks*, 2020 (arXiv 2007.08442).
"""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.validation import check_finite, check_floating, check_same

__all__ = ["KroneckerAttention", "KroneckerAttention2d"]

_MODES = ("kv", "qkv")


class KroneckerAttention(nn.Module):
    """Multi-head attention of a map's cells to its means along every axis.

    With C the ``n1 + ... + nr`` means (along axis a, the mean over all other axes), mode "kv"
    lets every cell attend to C, in O(N Σ nₐ); mode "qkv" lets C attend to itself and gives
    each cell the sum of its r rows of the output, in O((Σ nₐ)² + N). Plain attention costs
    O(N²).

    Parameters
    ----------
    channels
        Divisible by `num_heads`.
    num_heads
    mode : {"kv", "qkv"}
    axes
        How many axes a map has.
    projections
        Whether queries, keys, values and outputs go through linear maps that are learned;
        without them the module has no parameters.
    bias
        Whether those maps have offsets.
    device, dtype
        Of the parameters.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or a map does not fit.

    Examples
    --------
    >>> volume = torch.randn(2, 8, 6, 5, 4)
    >>> KroneckerAttention(8, num_heads=2, axes=3)(volume).shape
    torch.Size([2, 8, 6, 5, 4])
    """

    def __init__(
        self,
        channels: int,
        num_heads: int = 1,
        mode: str = "kv",
        *,
        axes: int,
        projections: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("num_heads", num_heads), ("axes", axes)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ArgumentTypeError(name, repr(value), "give a positive integer")
            if value < 1:
                raise ArgumentError(name, str(value), "give a positive integer")
        if channels % num_heads:
            remedy = f"give one that divides channels, {channels}"
            raise ArgumentError("num_heads", str(num_heads), remedy)
        if mode not in _MODES:
            raise ArgumentError("mode", repr(mode), 'give "kv" or "qkv"')
        self.channels, self.num_heads, self.mode, self.axes = channels, num_heads, mode, axes
        self.query, self.key, self.value, self.out = (
            nn.Linear(channels, channels, bias=bias, device=device, dtype=dtype)
            if projections
            else None
            for _ in range(4)
        )

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Attend within each map.

        Parameters
        ----------
        x : Tensor, shape (..., channels, n1, ..., nr)

        Returns
        -------
        Tensor of the same shape
        """
        self._check(x)
        grid = x.shape[-self.axes :]
        means = _axis_means(x, self.axes)
        if self.mode == "kv":
            cells = x.flatten(-self.axes).mT
            out = self._attend(cells, means)
            out = out if self.out is None else self.out(out)
            return out.mT.unflatten(-1, grid)
        out = self._attend(means, means)
        out = out if self.out is None else linear(out, self.out.weight)
        total = _outer_sum(out.mT, grid)
        if self.out is None or self.out.bias is None:
            return total
        return total + self.out.bias.view(-1, *(1 for _ in grid))

    def _attend(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Multi-head attention of (..., n, channels) to (..., m, channels)."""
        q, k, v = (
            tokens if project is None else project(tokens)
            for tokens, project in ((queries, self.query), (keys, self.key), (keys, self.value))
        )
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3) for t in (q, k, v))
        return scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)

    def _check(self, x: Tensor) -> None:
        check_floating("x", x)
        if self.query is not None:
            check_same("x", x, "the parameters", self.query.weight)
        fits = x.dim() > self.axes and x.shape[-self.axes - 1] == self.channels
        if not fits or 0 in x.shape[-self.axes :]:
            axes = ", ".join(f"n{i + 1}" for i in range(self.axes))
            remedy = f"give (..., {self.channels}, {axes}), each n at least 1"
            raise ArgumentError("x", f"shape {tuple(x.shape)}", remedy)
        check_finite("x", x)

    @override
    def extra_repr(self) -> str:
        return f"{self.channels}, num_heads={self.num_heads}, mode={self.mode!r}, axes={self.axes}"


class KroneckerAttention2d(KroneckerAttention):
    """`KroneckerAttention` on images, (..., channels, height, width).

    Parameters
    ----------
    channels, num_heads, mode, projections, bias, device, dtype
        As for `KroneckerAttention`.

    Examples
    --------
    >>> KroneckerAttention2d(8, mode="qkv")(torch.randn(2, 8, 16, 12)).shape
    torch.Size([2, 8, 16, 12])
    """

    def __init__(
        self,
        channels: int,
        num_heads: int = 1,
        mode: str = "kv",
        *,
        projections: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            channels,
            num_heads,
            mode,
            axes=2,
            projections=projections,
            bias=bias,
            device=device,
            dtype=dtype,
        )


def _axis_means(x: Tensor, axes: int) -> Tensor:
    """(..., channels, n1, ..., nr) to (..., n1 + ... + nr, channels)."""
    if axes == 1:
        return x.mT
    everyone = set(range(-axes, 0))
    means = [x.mean(dim=tuple(everyone - {axis})) for axis in range(-axes, 0)]
    return torch.cat(means, dim=-1).mT


def _outer_sum(parts: Tensor, grid: torch.Size) -> Tensor:
    """(..., channels, n1 + ... + nr) to (..., channels, n1, ..., nr)."""
    axes = range(len(grid))
    spread = (
        part.unflatten(-1, [grid[axis] if axis == other else 1 for other in axes])
        for axis, part in enumerate(parts.split(list(grid), dim=-1))
    )
    return reduce(torch.add, spread)
