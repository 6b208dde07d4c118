"""Standard normal vectors that are not independent: every one as ever, together more even.

Each row is a standard normal vector by itself, so whatever is averaged over rows keeps its
expectation; how rows of a block depend on each other decides the variance. Of blocks of d rows,
``W = diag(c) S R``: lengths c are chi with d degrees of freedom, R rotates all rows at random, and
S places them: at right angles, or as the corners of a simplex.

References
----------
I. Reid, K. Choromanski, V. Likhosherstov and A. Weller, *Simplex random features*, ICML 2023, for
S and for the sweeps of "simplex+"; F. X. Yu et al., *Orthogonal random features*, 2016; H. Avron,
V. Sindhwani, J. Yang and M. W. Mahoney, *Quasi-Monte Carlo feature maps for shift-invariant
kernels*, 2016.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.features.hadamard import HadamardRounds, padded

__all__ = ["COUPLINGS", "ROTATIONS", "Coupling", "Rotation", "StandardDraw", "draw_standard"]

Coupling = Literal["iid", "orthogonal", "simplex", "simplex+", "sobol", "halton"]
Rotation = Literal["haar", "hadamard"]
COUPLINGS = ("iid", "orthogonal", "simplex", "simplex+", "sobol", "halton")
ROTATIONS = ("haar", "hadamard")

# Measured, biases of a Gaussian kernel by three rounds in 2, 4, 8 and 16 dimensions: 0.24, 0.09,
# 0.015 and none beyond the noise. A Haar rotation after the rounds is a Haar rotation.
_LEAST_ROUNDS = 16
_MOST_SOBOL = 21201
_SWEEPS = 5


@dataclass(frozen=True, slots=True, eq=False)
class StandardDraw:
    """Random numbers for n frequencies of d inputs.

    Attributes
    ----------
    uniforms : Tensor, shape (n, k), float64
        In [0, 1).
    normals : Tensor, shape (n, d), float64, or None
        None where they are the rows that `rounds`, `lengths` and `simplex` make.
    rounds : HadamardRounds or None
    lengths : Tensor, shape (n,), float64, or None
    simplex : bool
        Whether the rows of a block are placed as a simplex before the rounds rotate them.
    """

    uniforms: Tensor
    normals: Tensor | None
    rounds: HadamardRounds | None = None
    lengths: Tensor | None = None
    simplex: bool = False


def draw_standard(
    n: int,
    d: int,
    n_uniforms: int,
    coupling: Coupling,
    rotation: Rotation,
    generator: torch.Generator,
) -> StandardDraw:
    """Normals and uniform numbers; blocks that n does not fill lose their last rows.

    Quasi-random numbers fill normals and uniforms together and are not rotated; independent ones
    need no rotation.
    """
    if coupling in ("sobol", "halton"):
        points = _quasi(n, d + n_uniforms, coupling, generator)
        return StandardDraw(points[:, d:], torch.special.ndtri(points[:, :d]))
    uniforms = torch.rand(n, n_uniforms, generator=generator, dtype=torch.float64)
    if coupling == "iid":
        return StandardDraw(uniforms, _randn(n, d, generator=generator))
    if rotation == "haar" or padded(d) < _LEAST_ROUNDS:
        return StandardDraw(uniforms, _haar_blocks(n, d, coupling, generator))
    size = padded(d)
    blocks = -(-n // size)
    rounds = HadamardRounds.draw(blocks, size, generator)
    lengths = _lengths(n, size, generator)
    if coupling == "simplex+":
        rotations = rounds.rotations()[..., :d]
        normals = torch.cat(
            [
                _closed_polygon(part) @ rotation[: len(part)]
                for part, rotation in zip(lengths.split(size), rotations, strict=True)
            ]
        )
        return StandardDraw(uniforms, normals)
    return StandardDraw(uniforms, None, rounds, lengths, coupling == "simplex")


def place_simplex(z: Tensor) -> Tensor:
    """``S z`` along the dimension before the last, d rows, for the matrix S of simplex corners."""
    d = z.shape[-2]
    if d == 1:
        return z
    total = z[..., :-1, :].sum(dim=-2, keepdim=True)
    shift = (math.sqrt(d) + 1) / (d - 1) ** 1.5
    first = math.sqrt(d / (d - 1)) * z[..., :-1, :] - shift * total
    return torch.cat([first, total / math.sqrt(d - 1)], dim=-2)


def place_simplex_back(z: Tensor) -> Tensor:
    """``Sᵀ z``, of the same shape."""
    d = z.shape[-2]
    if d == 1:
        return z
    shift = (math.sqrt(d) + 1) / (d - 1) ** 1.5
    others = z[..., :-1, :]
    constant = z[..., -1:, :] / math.sqrt(d - 1) - shift * others.sum(dim=-2, keepdim=True)
    first = math.sqrt(d / (d - 1)) * others + constant
    return torch.cat([first, torch.zeros_like(z[..., -1:, :])], dim=-2)


def _haar_blocks(n: int, d: int, coupling: Coupling, generator: torch.Generator) -> Tensor:
    full, rest = divmod(n, d)
    lengths = _lengths(n, d, generator)
    blocks = []
    # A few at a time: a thousand blocks of 16 are nothing, eight of 4096 are a gigabyte.
    step = max(1, 2**22 // d**2)
    for start in range(0, full, step):
        count = min(step, full - start)
        own = lengths[start * d : (start + count) * d].reshape(count, d)
        frames = _frames(count, d, d, generator)
        if coupling == "simplex+":
            rows = _closed_polygon(own) @ frames
        else:
            placed = place_simplex(frames) if coupling == "simplex" else frames
            rows = own.unsqueeze(-1) * placed
        blocks.append(rows.reshape(-1, d))
    if rest:
        own = lengths[full * d :]
        (frame,) = _frames(1, rest, d, generator)
        if coupling == "simplex+":
            blocks.append(_closed_polygon(own) @ frame)
        else:
            # Some corners of the simplex: the same angles, of fewer rows.
            placed = _some_corners(rest, d) @ frame if coupling == "simplex" else frame
            blocks.append(own.unsqueeze(-1) * placed)
    return torch.cat(blocks)


def _frames(blocks: int, rows: int, d: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows (blocks, rows, d), uniform over all such."""
    gaussian = torch.randn(blocks, d, rows, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    # Without the signs, the distribution would be the algorithm's.
    signs = r.diagonal(dim1=-2, dim2=-1).sign()
    return (q * signs.unsqueeze(-2)).mT


def _some_corners(rows: int, d: int) -> Tensor:
    """Unit vectors (rows, rows) with inner products ``-1 / (d - 1)``, for rows < d."""
    gram = torch.full((rows, rows), -1 / (d - 1), dtype=torch.float64)
    gram.fill_diagonal_(1.0)
    return torch.linalg.cholesky(gram)


def _closed_polygon(lengths: Tensor) -> Tensor:
    """Vectors (..., r, r) of the lengths given, (..., r), whose sum is as short as can be.

    From the corners of a simplex each in turn points away from the sum of the others.
    """
    r = lengths.shape[-1]
    if r == 1:
        return lengths.unsqueeze(-1)
    vectors = lengths.unsqueeze(-1) * place_simplex(torch.eye(r, dtype=torch.float64))
    total = vectors.sum(dim=-2)
    for _ in range(_SWEEPS):
        for i in range(r):
            total -= vectors[..., i, :]
            norm = total.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
            vectors[..., i, :] = -lengths[..., i, None] * total / norm
            total += vectors[..., i, :]
    return vectors


def _lengths(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Lengths of standard normal vectors of d entries."""
    # Drawn as such in passes, as torch's gamma distribution takes no generator.
    square = torch.zeros(n, dtype=torch.float64)
    step = max(1, 2**22 // n)
    for start in range(0, d, step):
        square += _randn(n, min(step, d - start), generator=generator).square().sum(dim=-1)
    return square.sqrt()


def _randn(n: int, d: int, *, generator: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def _quasi(n: int, width: int, coupling: Coupling, generator: torch.Generator) -> Tensor:
    engines: Any = qmc  # typed for a newer scipy, whose `seed` has another name
    seed = int(torch.randint(2**62, (), generator=generator))
    rng = np.random.default_rng(seed)
    if coupling == "halton":
        points = engines.Halton(width, scramble=True, seed=rng).random(n)
    else:
        if width > _MOST_SOBOL:
            given = f"'sobol' in {width} dimensions"
            raise ArgumentError("coupling", given, f'give "orthogonal": Sobol has {_MOST_SOBOL}')
        # Asked for another number than a power of two, scipy warns.
        sobol = engines.Sobol(width, scramble=True, seed=rng)
        points = sobol.random_base2(max(n - 1, 0).bit_length())[:n]
    # Neither end: the quantile there is infinite.
    return torch.from_numpy(points).clamp(2.0**-53, 1 - 2.0**-53)
