"""Evidence by Vecchia's approximation: every row given the rows near it that come before it.

One compiled pass gives the value and its slopes in O(n m³), whatever the number of rows; the
neighbors are found where the first evaluation is, and stay, so that the evidence is a smooth
function of the hyperparameters.

References
----------
A. Vecchia, *Estimation and model identification for continuous spatial processes*, Journal of the
Royal Statistical Society B 50, 1988; J. Guinness, *Gaussian process learning via Fisher scoring of
Vecchia's approximation*, Statistics and Computing 31, 2021.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.gp.covariance import Evidence, TrainingCovariance
from kernelgp.operators.expression import Leaf, Scaled
from kernelgp.vecchia.likelihood import Parameters, Responses, Sums, sums
from kernelgp.vecchia.merging import merge_rows
from kernelgp.vecchia.neighbors import nearest_previous
from kernelgp.vecchia.stationary import read_stationary

__all__ = [
    "LEAST_RATIO",
    "Inputs",
    "VecchiaCovariance",
    "is_compiled",
    "read_inputs",
    "relative_noise",
]

Array = NDArray[np.float64]

# Of the kernel's variance: no less noise than this, so that rows that nearly coincide can be
# told apart.
LEAST_RATIO = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A kernel's numbers, with their graph.

    Attributes
    ----------
    kind : int, of `kernelgp.vecchia.blocks`
    columns : list of int or None
        The inputs it looks at.
    scale : Tensor, shape ()
    lengthscale : Tensor, shape (1,) or (d,)
    alpha : Tensor, shape (), or None
    """

    kind: int
    columns: list[int] | None
    scale: Tensor
    lengthscale: Tensor
    alpha: Tensor | None

    def seen(self, x: Array) -> Array:
        return x if self.columns is None else x[:, self.columns]

    def parameters(self, noise: float, unit: float) -> Parameters:
        """As the compiled passes take them, for targets divided by the root of `unit`."""
        scale = self.scale.item() / unit
        return Parameters(
            self.kind,
            self.lengthscale.detach().numpy(),
            max(noise / scale, LEAST_RATIO),
            1.0 if self.alpha is None else self.alpha.item(),
            noise,
        )


def is_compiled(kernel: Any) -> bool:
    """Whether a kernel is a scaled stationary one that the compiled passes know."""
    return read_stationary(kernel) is not None


def read_inputs(kernel: Any) -> Inputs:
    """The numbers of a kernel that is compiled.

    Raises
    ------
    ArgumentError
        If it is another.
    """
    known = read_stationary(kernel)
    if known is None:
        given = f"{type(kernel).__name__} with Vecchia's approximation"
        remedy = "give a scaled RBF, Matern or RationalQuadratic kernel, or another method"
        raise ArgumentError("kernel", given, remedy)
    node, scale = kernel.expression(), torch.ones((), dtype=torch.float64)
    while isinstance(node, Scaled):
        scale, node = scale * node.scale.double().cpu(), node.node
    assert isinstance(node, Leaf)
    lengthscale, *scalars = (tensor.double().cpu() for tensor in node.tensors)
    return Inputs(
        known.kind,
        None if known.columns is None else list(known.columns),
        scale.reshape(()),
        lengthscale.reshape(-1),
        scalars[0].reshape(()) if scalars else None,
    )


class VecchiaCovariance(TrainingCovariance):
    """The covariance at some points, each given its neighbors.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    unit
        What the kernel is divided by.
    seed
        Of the order, which is random.
    n_neighbors
    """

    method: ClassVar[str] = "vecchia"

    def __init__(self, x: Tensor, unit: float = 1.0, seed: int = 0, n_neighbors: int = 30) -> None:
        self.x = np.ascontiguousarray(x.detach().cpu().double().numpy())
        self.unit, self.seed, self.n_neighbors = unit, seed, n_neighbors
        self._neighbors: NDArray[np.int64] | None = None
        self._mean: Array | None = None

    @override
    def evidence(self, kernel: Any, noise: Tensor, y: Tensor, basis: Tensor) -> Evidence:
        given = read_inputs(kernel)
        common, relative = relative_noise(noise)
        quad, logdet, coefficients = _VecchiaEvidence.apply(
            self, given, common, relative, y, basis, given.scale, given.lengthscale, given.alpha
        )
        return Evidence(quad, logdet, coefficients)

    @override
    def factor(self, kernel: Any, noise: Tensor) -> NoReturn:
        del kernel, noise
        raise ArgumentError("method", '"vecchia"', 'fit with method="cholesky" for a factor')

    def rows(self, y: Array, basis: Array, relative: Array) -> Responses:
        """In a random order, those at one place merged."""
        merged = self.merged(y, basis, relative)
        order = np.random.default_rng(self.seed).permutation(len(merged.y))
        return merged.ordered(order)

    def merged(self, y: Array, basis: Array, relative: Array) -> Responses:
        """Those at one place made one."""
        return merge_rows(self.x, y, basis, np.ones(len(y)), relative)

    def neighbors(self, points: Array, lengthscale: Array) -> NDArray[np.int64]:
        """Of the rows in their order, found once."""
        if self._neighbors is None:
            m = min(self.n_neighbors, max(len(points) - 1, 1))
            self._neighbors = nearest_previous(points / lengthscale, m)
        return self._neighbors

    def add_up(self, given: Inputs, rows: Responses, parameters: Parameters) -> tuple[Array, Sums]:
        """The mean's best coefficients and the sums at these."""
        seen = Responses(
            given.seen(rows.X), rows.y, rows.H, rows.shares,
            rows.repeats, rows.within, rows.log_weights,
        )  # fmt: skip
        near = self.neighbors(seen.X, parameters.lengthscale)
        mean = self._mean
        if mean is None or len(mean) != rows.H.shape[1]:
            mean = np.zeros(rows.H.shape[1])
        found = sums(seen, near, parameters, rows.y - rows.H @ mean)
        moved = found.change @ found.gram @ found.change
        mean = mean + found.change
        if moved > 1e-12 * found.squares:
            # Slopes are those at the residual given: once more, where it is the right one.
            found = sums(seen, near, parameters, rows.y - rows.H @ mean)
        self._mean = mean
        return mean, found


def relative_noise(noise: Tensor) -> tuple[Tensor, Array | None]:
    """A variance and what each row has of it, None for all alike."""
    if noise.dim() == 0:
        return noise.cpu(), None
    typical = noise.mean()
    if typical.item() == 0:
        return typical.cpu(), None
    return typical.cpu(), (noise / typical).detach().cpu().numpy()


class _VecchiaEvidence(torch.autograd.Function):
    """``rᵀ A⁻¹ r`` and ``log|A|`` with ``A = s (R(l, α) + τ D)`` and ``s τ`` the noise."""

    @staticmethod
    def forward(
        ctx: Any,
        covariance: VecchiaCovariance,
        given: Inputs,
        noise: Tensor,
        relative: Array | None,
        y: Tensor,
        basis: Tensor,
        scale: Tensor,
        lengthscale: Tensor,
        alpha: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        targets, H = y.cpu().numpy(), basis.cpu().numpy()
        unit = covariance.unit
        parameters = given.parameters(noise.item(), unit)
        s, tau = scale.item() / unit, parameters.ratio
        share = np.ones(len(targets)) if relative is None else relative
        outputs = []
        for column in targets.T:
            rows = covariance.rows(np.ascontiguousarray(column), H, share)
            outputs.append(covariance.add_up(given, rows, parameters))
        means, sums_of = zip(*outputs, strict=True)
        n, found = len(targets), sums_of[0]
        quads = [each.squares / s for each in sums_of]
        slopes = [-2 * each.B / s for each in sums_of]
        logdet = n * math.log(s) + 2 * found.half_logdet
        at = len(parameters.lengthscale)
        # By the logs of scale, noise, lengthscales and alpha; where the noise falls, so does τ.
        pairs = zip(quads, slopes, strict=True)
        by_quad = np.array([[-q - b[at] * tau, b[at] * tau, *b] for q, b in pairs])
        by_logdet = np.array([n - found.A[at] * tau, found.A[at] * tau, *found.A])
        ctx.save_for_backward(
            torch.from_numpy(by_quad), torch.from_numpy(by_logdet),
            noise, scale, lengthscale, *(() if alpha is None else (alpha,)),
        )  # fmt: skip
        coefficients = torch.from_numpy(np.stack(means, axis=-1)).to(y)
        ctx.mark_non_differentiable(coefficients)
        values = torch.tensor([*quads, logdet], dtype=torch.float64).to(y)
        return values[:-1], values[-1], coefficients

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, quad_grad: Tensor, logdet_grad: Tensor, _: Tensor
    ) -> tuple[Tensor | None, ...]:
        by_quad, by_logdet, noise, scale, lengthscale, *alpha = ctx.saved_tensors
        by_log = quad_grad.cpu() @ by_quad + logdet_grad.cpu() * by_logdet
        d = len(lengthscale)
        by_noise = by_log[1] / noise if noise.item() > 0 else torch.zeros_like(noise)
        by_alpha = by_log[3 + d] / alpha[0] if alpha else None
        by_lengthscale = by_log[2 : 2 + d] / lengthscale
        return (
            None, None, by_noise, None, None, None, by_log[0] / scale, by_lengthscale, by_alpha,
        )  # fmt: skip
