"""A Gaussian posterior from blocks of rows, by one QR factorisation and without cancellation.

With whitened coefficients ``c ~ N(0, I)``, rows ``A c = z + e`` and noise of deviation σ,

    [A D / σ; I] = Q [R; 0],   mean D R⁻¹ y,   covariance D (Rᵀ R)⁻¹ D,

where D holds the prior deviation of each unknown and y is the top of ``Qᵀ [z / σ; 0]``. A deviation
is the norm of ``R⁻ᵀ D φ``, a sum of squares: nothing is subtracted, so that it is right down to the
nugget. What the factorisation leaves of z is the quadratic form of the evidence. Derivatives of
that by the logarithms of the prior deviations and of unknown noise are had for the price of R⁻¹,

    d log p / d log s = |c|² - γ,   γ = p - tr (Rᵀ R)⁻¹      over the columns of one unknown,
    d log p / d log σ = |r|² / σ² - n + γ,   γ = |A R⁻¹|²     over the rows of one block,

whose zeros are the fixed points ``s² ← s² |c|² / γ`` and ``σ² ← |r|² / (n - γ)``.

References
----------
C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, 2.1 and 5.4.

D. J. C. MacKay, *Bayesian Interpolation*, Neural Computation 4, 1992, for γ and the fixed points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from solvers.rows import Block

__all__ = ["NUGGET", "Fit", "fit", "learn_scales", "observed_evidence", "solve_upper"]

Array = NDArray[np.float64]

# Standard deviation of an exact row, relative to its prior deviation: its values are rounded.
NUGGET = 1e-13
_MOST_ROUNDS = 25
# Of a logarithm, in one step; what is left to go may be ten times as much.
_SETTLED = 2e-3
# A round moves no scale by more than this factor, in deviation.
_LARGEST_MOVE = 30.0
# Of a secant's step, in fixed-point steps.
_LONGEST_LEAP = 6.0


@dataclass(frozen=True, eq=False)
class Fit:
    """The posterior of all coefficients.

    Attributes
    ----------
    scales : ndarray, shape (p,)
        D: the prior deviation of each column.
    triangle : ndarray, shape (p, p)
        R.
    white : ndarray, shape (p,)
        The posterior mean of the whitened coefficients.
    quadratic : float
        ``zᵀ G⁻¹ z`` over all rows.
    noise : tuple of float
        The standard deviation that each block was given.
    blocks : tuple of Block
    """

    scales: Array
    triangle: Array
    white: Array
    quadratic: float
    noise: tuple[float, ...]
    blocks: tuple[Block, ...]

    @property
    def coefficients(self) -> Array:
        """The posterior mean, in the unit of the unknowns."""
        return self.scales * self.white

    @property
    def log_marginal_likelihood(self) -> float:
        """The log density of all values, in natural units."""
        n = sum(block.count for block in self.blocks)
        noise = sum(b.count * math.log(s) for b, s in zip(self.blocks, self.noise, strict=True))
        logdet = 2 * float(np.log(np.abs(np.diag(self.triangle))).sum() + noise)
        return -0.5 * (self.quadratic + logdet + n * math.log(2 * math.pi))

    @cached_property
    def inverse(self) -> Array:
        """R⁻¹, whose rows have the posterior deviations of the whitened coefficients as norms."""
        return solve_upper(self.triangle, np.eye(len(self.triangle)))

    def deviation(self, rows: Array) -> Array:
        """Posterior standard deviation of functionals, given as rows (m, p): shape (m,)."""
        return np.linalg.norm(solve_upper(self.triangle, (rows * self.scales).T, trans=1), axis=0)

    def draw(self, normal: Array) -> Array:
        """Coefficients (p, k) from the posterior, from standard normal numbers (p, k)."""
        return self.scales[:, None] * (self.white[:, None] + solve_upper(self.triangle, normal))

    def times(self, factor: float) -> "Fit":
        """The same posterior mean under a prior and a noise that are `factor` times as large."""
        return replace(
            self,
            scales=factor * self.scales,
            white=self.white / factor,
            quadratic=self.quadratic / factor**2,
            noise=tuple(factor * sd for sd in self.noise),
        )

    def determined(self, columns: NDArray[np.intp]) -> float:
        """γ of some columns: how many of their coefficients the rows determine."""
        rows = self.inverse[columns]
        return max(len(rows) - float(np.square(rows).sum()), 1e-12)

    def misfit(self, block: Block) -> float:
        """The sum of squares of what the mean leaves of a block's values."""
        return float(np.square(block.values - block.matrix @ self.coefficients).sum())

    def explained(self, block: Block) -> float:
        """γ of a block of these: how many of its values the coefficients follow."""
        noise = self.noise[self.blocks.index(block)]
        return float(np.square((block.matrix * self.scales) @ self.inverse).sum()) / noise**2


def fit(
    blocks: Sequence[Block],
    scales: Array,
    *,
    nugget: float = NUGGET,
    damping: float = 0.0,
    center: Array | None = None,
) -> Fit:
    """Condition on blocks of rows, O((n + p) p²) for n rows and p coefficients.

    Parameters
    ----------
    blocks
    scales : ndarray, shape (p,)
        The prior standard deviation of each coefficient.
    nugget
        Of exact rows, relative to the root mean square of their prior deviations in the block.
    damping, center
        Levenberg's: the mean is pulled towards `center`, shape (p,), in the unit of the unknowns,
        by as much as `damping` further priors would pull it towards zero.
    """
    p = len(scales)
    noise, rows = [], []
    for block in blocks:
        scaled = block.matrix * scales
        sd = block.noise
        if sd is None:
            sd = nugget * float(np.linalg.norm(scaled)) / math.sqrt(block.count) or 1.0
        noise.append(sd)
        rows.append(np.column_stack([scaled, block.values]) / sd)
    # Heavy rows first: rounding of those would drown the light ones below them otherwise.
    rows = [rows[i] for i in np.argsort(noise, kind="stable")]
    prior = np.eye(p, p + 1)
    if center is not None:
        prior *= math.sqrt(1 + damping)
        prior[:, p] = damping / math.sqrt(1 + damping) * center / scales
    stack = np.vstack([*rows, prior])
    triangle: Array = np.asarray(np.linalg.qr(stack, mode="r"))
    R, y = triangle[:p, :p], triangle[:p, p]
    quadratic = float(triangle[p, p]) ** 2 if len(triangle) > p else 0.0
    return Fit(scales, R, solve_upper(R, y), quadratic, tuple(noise), tuple(blocks))


def learn_scales(
    blocks: Sequence[Block],
    groups: NDArray[np.intp],
    start: Sequence[float],
    *,
    fixed: Sequence[int] = (),
    learn_noise: Sequence[str] = (),
    nugget: float = NUGGET,
    rounds: int = _MOST_ROUNDS,
    settled: float = _SETTLED,
) -> Fit:
    """Condition on blocks, at the prior deviations and noise that make the values most likely.

    Parameters
    ----------
    blocks
        Their noise is where the search starts, where it is learned.
    groups : int ndarray, shape (p,)
        Which unknown each column belongs to.
    start : sequence of float
        A prior deviation of each unknown.
    fixed
        Numbers of unknowns that keep theirs.
    learn_noise
        Names of blocks.
    nugget
    rounds
        Bound on the number of factorisations.
    settled
        A relative move of deviations that is not worth another one.
    """
    scales = np.array(start, float)
    if len(scales) == 1 and not fixed and all(block.noise is None for block in blocks):
        # Nothing but the amplitude: noise and prior grow together, and the mean does not change.
        found = fit(blocks, scales[groups], nugget=nugget)
        size = float(np.square(found.white).sum())
        return found.times(math.sqrt(size / found.determined(groups == 0))) if size else found
    free = np.array([k for k in range(len(start)) if k not in set(fixed)], np.intp)
    blocks = [block.compressed() for block in blocks]
    noisy = [
        i for i, block in enumerate(blocks) if block.name in learn_noise and block.noise is not None
    ]
    logs = np.log([*scales[free], *(float(blocks[i].noise or 0.0) for i in noisy)])
    before: tuple[Array, Array] | None = None
    for _ in range(rounds):
        scales[free] = np.exp(logs[: len(free)])
        for i, log in zip(noisy, logs[len(free) :], strict=True):
            blocks[i] = replace(blocks[i], noise=math.exp(log))
        found = fit(blocks, scales[groups], nugget=nugget)
        moves = np.array(
            [_scale_move(found, np.flatnonzero(groups == k)) for k in free]
            + [_noise_move(found, blocks[i]) for i in noisy]
        )
        if not len(moves) or np.abs(moves).max() < settled:
            return found
        step = moves
        if before is not None:
            # The fixed point is approached from one side by a constant factor: a secant leaps.
            slope = (moves - before[1]) / np.where(logs == before[0], 1.0, logs - before[0])
            leap = np.where(slope < -1 / _LONGEST_LEAP, -moves / np.minimum(slope, -1e-9), moves)
            step = np.where(np.abs(leap) <= _LONGEST_LEAP * np.abs(moves), leap, moves)
        before = logs, moves
        limit = math.log(_LARGEST_MOVE)
        logs = logs + np.clip(step, -limit, limit)
    return fit(blocks, scales[groups], nugget=nugget)


def _scale_move(found: Fit, columns: NDArray[np.intp]) -> float:
    """What a fixed-point step adds to the logarithm of a prior deviation."""
    size = float(np.square(found.white[columns]).sum())
    # Data that are all zero say nothing about a scale.
    return 0.5 * math.log(size / found.determined(columns)) if size else 0.0


def _noise_move(found: Fit, block: Block) -> float:
    """The same of the noise of a block."""
    assert block.noise is not None
    left = max(block.count - found.explained(block), 1e-3)
    # Values that are met exactly have no noise; rounding is kept.
    least = 1e-12 * float(np.linalg.norm(block.values)) / math.sqrt(block.count)
    new = max(math.sqrt(found.misfit(block) / left), least, block.noise / _LARGEST_MOVE)
    return math.log(new / block.noise)


def observed_evidence(found: Fit, nugget: float) -> float:
    """Log density of noisy values, given the exact ones."""
    exact = [block for block in found.blocks if block.noise is None]
    if not exact:
        return found.log_marginal_likelihood
    alone = fit(exact, found.scales, nugget=nugget)
    return found.log_marginal_likelihood - alone.log_marginal_likelihood


def solve_upper(triangle: Array, rhs: Array, *, trans: int = 0) -> Array:
    # scipy's annotations list every combination of its switches at once.
    solve: Any = scipy.linalg.solve_triangular
    return solve(triangle, rhs, trans=trans, check_finite=False)
