"""Random rotations that are products: three rounds of random signs and a Hadamard matrix.

``R = H D1 H D2 H D3 / D^(3/2)`` for D a power of two is orthogonal, takes 3 D numbers instead of
D², and multiplies in D log D. Points of d < D columns are padded with zeros.

References
----------
F. X. Yu, A. T. Suresh, K. Choromanski, D. Holtmann-Rice and S. Kumar, *Orthogonal random
features*, 2016, for the rounds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HadamardRounds", "hadamard_transform", "padded"]


def padded(d: int) -> int:
    """The least power of two from d on."""
    return 1 << max(d - 1, 0).bit_length()


def hadamard_transform(x: Tensor) -> Tensor:
    """``x H`` along the last dimension, a power of two; not normalised.

    H is a Kronecker product of factors of at most 64, so that it runs as a few matrix products.
    """
    size = x.shape[-1]
    levels = size.bit_length() - 1
    if levels > 12:
        # (H ⊗ H') x: the blocks of 4096 first, then across them.
        inner = hadamard_transform(x.reshape(*x.shape[:-1], -1, 4096))
        return hadamard_transform(inner.mT).mT.reshape(x.shape)
    width = 1 << (levels // 2)
    within = x.reshape(-1, width) @ _hadamard(width, x)
    across = _hadamard(size // width, x) @ within.reshape(-1, size // width, width)
    return across.reshape(x.shape)


def _hadamard(size: int, like: Tensor) -> Tensor:
    matrix = like.new_ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


@dataclass(frozen=True, slots=True, eq=False)
class HadamardRounds:
    """Some independent rotations.

    Attributes
    ----------
    signs : Tensor, shape (blocks, 3, D), int8
    """

    signs: Tensor

    @classmethod
    def draw(cls, blocks: int, size: int, generator: torch.Generator) -> "HadamardRounds":
        bits = torch.randint(2, (blocks, 3, size), generator=generator, dtype=torch.int8)
        return cls(2 * bits - 1)

    @property
    def size(self) -> int:
        return self.signs.shape[-1]

    def rotations(self) -> Tensor:
        """The matrices R, shape (blocks, D, D), float64."""
        eye = torch.eye(self.size, dtype=torch.float64, device=self.signs.device)
        return self.rotate(eye).mT

    def rotate(self, x: Tensor) -> Tensor:
        """``R x`` for the rows of x, shape (n, D): (blocks, n, D)."""
        signs = self.signs.to(x).unsqueeze(-2)
        scale = self.size**-0.5  # in the signs, where it costs nothing
        result = x.expand(len(signs), *x.shape)
        for i in (2, 1, 0):
            result = hadamard_transform(result * (scale * signs[:, i]))
        return result

    def rotate_back(self, x: Tensor) -> Tensor:
        """``Rᵀ x``, of (blocks, n, D)."""
        for i in range(3):
            x = hadamard_transform(x) * self.signs[:, i, None].to(x)
        return x * self.size**-1.5
