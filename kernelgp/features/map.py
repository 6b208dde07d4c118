"""A feature map as a torch module: what all of them share."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_floating

__all__ = ["FeatureMap", "Features"]

Features = Callable[[Tensor], Tensor]


class FeatureMap(nn.Module):
    """Points (..., d) to features (..., n_components); inner products approximate a kernel.

    Random numbers are buffers, what is learned is a parameter. A map says `prepare` and
    `draw_anew`; everything else is here.

    Parameters
    ----------
    d
        Number of inputs.
    n_components
        Number of columns.
    """

    def __init__(self, d: int, n_components: int) -> None:
        super().__init__()
        self.d, self.n_components = d, n_components

    @abstractmethod
    def prepare(self, like: Tensor) -> Features:
        """The map as a function of points with the dtype and device of `like`.

        What does not depend on the points is computed here, once for many blocks of rows; with a
        graph to the parameters where gradients are enabled.
        """

    @abstractmethod
    def draw_anew(self, generator: torch.Generator) -> None:
        """`redraw` for a generator."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Features (..., n_components) of points (..., d), in their dtype."""
        check_floating("x", x)
        if x.dim() == 0 or x.shape[-1] != self.d:
            given = f"shape {tuple(x.shape)}"
            raise ArgumentError("x", given, f"give (..., {self.d}), points of {self.d} columns")
        return self.prepare(x)(x)

    def redraw(self, random_state: RandomState = None) -> None:
        """Draw the random numbers anew, in place; what is learned stays."""
        with torch.no_grad():
            self.draw_anew(as_generator(random_state))

    @override
    def extra_repr(self) -> str:
        return f"d={self.d}, n_components={self.n_components}"
