"""The frequencies of a map: random numbers as buffers, hyperparameters as parameters.

The numbers are drawn once, for kernels of unit scale; frequencies are computed from them and the
kernel's hyperparameters as they are at the moment, with a graph. So a lengthscale that is learned
moves smooth features, the same numbers make the same features on every device, and ``state_dict``
holds all there is to a map.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.features.coupling import (
    Coupling,
    Rotation,
    StandardDraw,
    place_simplex,
)
from kernelgp.features.hadamard import HadamardRounds
from kernelgp.features.sampler import dense_normals, draw_terms, random_counts
from kernelgp.kernels.waves import term_frequencies

__all__ = ["Frequencies"]

# Rounds are applied as such from this many columns on; below, a product with the matrix that
# they amount to is as fast. Measured, float32, one thread, 2 048 rows, as many frequencies as
# columns, ms for the matrix and the rounds: 12 and 35 at 256, 51 and 53 at 512, 206 and 104 at
# 1 024, 844 and 199 at 2 048.
_LEAST_ROUNDS = 512


class Frequencies(nn.Module):
    """n frequencies of a kernel.

    Every frequency has a share of the kernel's variance. The terms of a sum of kernels get rows in
    proportion to their variances as they are when drawn, one at least; learned later, the
    variances change the shares and leave the rows.

    Parameters
    ----------
    kernel : Kernel
        As `read_kernel` returns it; becomes a part of this module.
    d
        Number of inputs.
    columns : Tensor, shape (n,), float64
        How many columns of features a frequency makes; shares are in proportion.
    coupling, rotation
        As for `sample_frequencies`.
    generator
    """

    uniforms: Tensor
    choice: Tensor
    shares: Tensor
    normals: Tensor | None
    signs: Tensor | None
    lengths: Tensor | None

    def __init__(
        self,
        kernel: Any,
        d: int,
        columns: Tensor,
        coupling: Coupling,
        rotation: Rotation,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.d = d
        self.coupling: Coupling = coupling
        self.rotation: Rotation = rotation
        self.simplex = False
        self.register_buffer("columns", columns, persistent=False)
        self.columns: Tensor
        for name, value in self._draw(generator).items():
            self.register_buffer(name, value)

    def redraw(self, generator: torch.Generator) -> None:
        """Draw all numbers anew, on the CPU, and put them where the old ones are."""
        for name, value in self._draw(generator).items():
            if value is not None:
                getattr(self, name).copy_(value)

    def __len__(self) -> int:
        return len(self.columns)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> dict[str, Tensor | None]:
        terms = self.kernel.spectrum()
        columns = self.columns.cpu()
        variances = torch.stack([term.variance.detach().cpu().double() for term in terms])
        counts, drawn = _counts(variances, len(columns), generator)
        choice, draw = draw_terms(terms, counts, self.d, self.coupling, self.rotation, generator)
        of_term = torch.zeros(len(terms), dtype=columns.dtype).index_add(0, choice, columns)
        if drawn:  # fewer rows than terms: each stands for all that it was drawn from
            of_term = columns.sum() * variances / variances.sum()
        if draw.normals is None and not self._is_radial(draw):
            draw = StandardDraw(draw.uniforms, dense_normals(draw, self.d))
        self.simplex = draw.simplex
        return {
            "uniforms": draw.uniforms,
            "choice": choice,
            "shares": columns / of_term[choice],
            "normals": draw.normals,
            "signs": None if draw.rounds is None else draw.rounds.signs,
            "lengths": draw.lengths,
        }

    def _is_radial(self, draw: StandardDraw) -> bool:
        (term,) = self.kernel.spectrum()
        return term.waves(draw.uniforms[:1], self.d).is_radial

    @property
    def draw(self) -> StandardDraw:
        """The random numbers."""
        rounds = None if self.signs is None else HadamardRounds(self.signs)
        return StandardDraw(self.uniforms, self.normals, rounds, self.lengths, self.simplex)

    @override
    def forward(self) -> Tensor:
        """All frequencies, (n, d), in cycles per unit of the inputs, with a graph."""
        normals = dense_normals(self.draw, self.d)
        return term_frequencies(self.kernel.spectrum(), self.choice, self.uniforms, normals)

    def spreads(self) -> Tensor:
        """Standard deviations of the frequencies in every column, (n, d), with a graph.

        Raises
        ------
        ArgumentError
            If frequencies stand off zero: of periodic kernels and of spectral mixtures.
        """
        terms = self.kernel.spectrum()
        result = self.uniforms.new_zeros(len(self), self.d)
        for index, term in enumerate(terms):
            rows = (self.choice == index).nonzero().squeeze(-1)
            waves = term.waves(self.uniforms[rows], self.d)
            if waves.centres is not None:
                remedy = "give a mixture of Gaussian kernels, such as RBF or Matern"
                given = f"{self.kernel}, which has values below its mean"
                raise ArgumentError("kernel", given, remedy)
            found = (waves.radii * waves.rates).expand(len(rows), self.d)
            result = result.index_copy(0, rows, found)
        return result

    def amplitudes(self) -> Tensor:
        """The root of every frequency's part of the variance, (n,), with a graph."""
        terms = self.kernel.spectrum()
        variances = torch.stack([term.variance.to(self.shares) for term in terms])
        return (variances[self.choice] * self.shares).sqrt()

    def projection(self, like: Tensor) -> Any:
        """A function from points (..., d), with dtype and device of `like`, to phases (..., n)."""
        if self.signs is None or self.signs.shape[-1] < _LEAST_ROUNDS:
            weights = (2 * math.pi * self().to(like)).mT
            return lambda x: x @ weights
        (term,) = self.kernel.spectrum()
        waves = term.waves(self.uniforms, self.d)
        assert self.lengths is not None
        rates = (2 * math.pi * waves.rates).to(like)
        lengths = (waves.radii.squeeze(-1) * self.lengths).to(like)
        return lambda x: self._rotated(x * rates) * lengths

    def _rotated(self, x: Tensor) -> Tensor:
        """The placed and rotated rows times x, (..., n)."""
        assert self.signs is not None
        rounds = HadamardRounds(self.signs)
        points = nn.functional.pad(x.reshape(-1, self.d), (0, rounds.size - self.d))
        turned = rounds.rotate(points)
        if self.simplex:
            turned = place_simplex(turned.mT).mT
        rows = turned.permute(1, 0, 2).reshape(len(points), -1)[:, : len(self)]
        return rows.reshape(*x.shape[:-1], len(self))


def _counts(variances: Tensor, n: int, generator: torch.Generator) -> tuple[list[int], bool]:
    """Rows for every term: in proportion, one at least; at random where there are too few."""
    if n < len(variances):
        return random_counts(variances, n, generator), True
    ideal = (n - len(variances)) * variances / variances.sum()
    counts = ideal.floor().long()
    left = n - len(variances) - int(counts.sum())
    counts[(ideal - counts).argsort(descending=True)[:left]] += 1
    return (counts + 1).tolist(), False
