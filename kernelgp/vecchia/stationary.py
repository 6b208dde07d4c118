"""Which kernels the compiled passes know, and what these need of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.kernels.matern import Matern, MaternProfile
from kernelgp.kernels.rational_quadratic import RationalQuadratic, RationalQuadraticProfile
from kernelgp.kernels.rbf import RBF, GaussianProfile
from kernelgp.operators.expression import Leaf, Node, Profile, Scaled
from kernelgp.vecchia.blocks import (
    EXPONENTIAL,
    GAUSSIAN,
    MATERN32,
    MATERN52,
    RATIONAL_QUADRATIC,
)

__all__ = ["Stationary", "read_stationary"]

_MATERN = {0.5: EXPONENTIAL, 1.5: MATERN32, 2.5: MATERN52}


@dataclass(frozen=True, slots=True, eq=False)
class Stationary:
    """``outputscale k(|x - x'| / lengthscale)`` with a k of unit variance.

    Attributes
    ----------
    kind : int, of `kernelgp.vecchia.blocks`
    lengthscale : (1,) or (d,)
    outputscale : float
    alpha : float, of rational quadratics
    columns : tuple of int or None, the columns of the input that it looks at
    """

    kind: int
    lengthscale: NDArray[np.float64]
    outputscale: float
    alpha: float
    columns: tuple[int, ...] | None

    def scale(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points in lengthscales."""
        seen = points if self.columns is None else points[:, list(self.columns)]
        return np.ascontiguousarray(seen / self.lengthscale)

    def metric(self, d: int) -> NDArray[np.float64]:
        """The lengthscale of each of d columns, infinite where it does not look."""
        found = np.full(d, np.inf)
        found[slice(None) if self.columns is None else list(self.columns)] = self.lengthscale
        return found

    def kernel(self) -> Any:
        """As a kernel of `kernelgp.kernels`."""
        lengthscale, columns = self.lengthscale.tolist(), self.columns
        if self.kind == GAUSSIAN:
            return self.outputscale * RBF(lengthscale, columns)
        if self.kind == RATIONAL_QUADRATIC:
            return self.outputscale * RationalQuadratic(self.alpha, lengthscale, columns)
        nu = {kind: nu for nu, kind in _MATERN.items()}[self.kind]
        return self.outputscale * Matern(nu, lengthscale, columns)


def read_stationary(kernel: Any) -> Stationary | None:
    """A scaled stationary kernel of those compiled; None for any other.

    Examples
    --------
    >>> from kernelgp.kernels import Matern, Periodic
    >>> read_stationary(2.0 * Matern(nu=1.5, lengthscale=[0.3, 1.0])).outputscale
    2.0
    >>> read_stationary(Periodic()) is None
    True
    """
    if not hasattr(kernel, "expression") or kernel.batch_shape:
        return None
    node: Node = kernel.expression()
    outputscale = 1.0
    while isinstance(node, Scaled):
        outputscale *= float(node.scale.detach())
        node = node.node
    if not isinstance(node, Leaf):
        return None
    kind = _kind(node.profile)
    if kind is None:
        return None
    lengthscale, *scalars = (_array(t) for t in node.tensors)
    alpha = float(scalars[0].item()) if scalars else 1.0
    return Stationary(kind, lengthscale, outputscale, alpha, node.active_dims)


def _kind(profile: Profile) -> int | None:
    # Not isinstance: a periodic kernel is a Gaussian one of points on a circle.
    if type(profile) is MaternProfile:
        return _MATERN[profile.nu]
    return {GaussianProfile: GAUSSIAN, RationalQuadraticProfile: RATIONAL_QUADRATIC}.get(
        type(profile)
    )


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().cpu().numpy().reshape(-1)
