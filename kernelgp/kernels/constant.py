"""The two kernels that do not look at the points: a constant, and white noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.kernels.kernel import Kernel
from kernelgp.kernels.ladder import Orders, check_smoothness
from kernelgp.kernels.positive import Hyperparameter
from kernelgp.kernels.waves import SpectralTerm
from kernelgp.operators.expression import Leaf, Node, Pair, Profile, Scaled

__all__ = ["Constant", "White"]


@dataclass(frozen=True)
class ConstantProfile(Profile):
    """The number of the pair as it is: 1 everywhere."""

    pair: ClassVar[Pair] = "constant"

    @override
    def value(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return s

    @override
    def slope(self, s: Tensor, *parameters: Tensor) -> Tensor:
        return torch.ones_like(s)

    @override
    def formula(self, s: Any, *parameters: Any) -> Any:
        return s


@dataclass(frozen=True)
class IdentityProfile(ConstantProfile):
    """The number of the pair as it is: 1 where a point meets itself."""

    pair: ClassVar[Pair] = "identity"


class Constant(Kernel):
    """``k = 1``: the covariance of an unknown constant; scale it for another variance.

    Parameters
    ----------
    active_dims : sequence of int, optional
        Without effect.

    Examples
    --------
    >>> 3.0 * Constant()
    3.0 * Constant()
    """

    def __init__(self, active_dims: Sequence[int] | None = None) -> None:
        super().__init__(active_dims)

    @override
    def expression(self) -> Node:
        return Leaf(ConstantProfile())

    @override
    def depends_on(self, columns: Orders) -> frozenset[int]:
        return frozenset()

    @property
    @override
    def is_stationary(self) -> bool:
        return True

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        value = 0.0 if any(orders1) or any(orders2) else 1.0
        return x1.new_full((len(x1), len(x2)), value)

    @override
    def spectrum(self) -> list[SpectralTerm]:
        return [SpectralTerm(self.variance)]


class White(Kernel):
    """Independent noise: `noise` where a point meets itself, 0 between all others.

    It stands on the diagonal of a symmetric operator only; between two sets of points it is 0,
    even where points coincide.

    Parameters
    ----------
    noise : float or Tensor of shape (*batch,)
        Its variance, positive.
    active_dims : sequence of int, optional
        Without effect.

    Examples
    --------
    >>> White(noise=0.1)(torch.zeros(2, 1)).to_dense().detach()
    tensor([[0.1000, 0.0000],
            [0.0000, 0.1000]])
    """

    noise: Hyperparameter = Hyperparameter()

    def __init__(
        self, noise: float | Tensor = 1.0, active_dims: Sequence[int] | None = None
    ) -> None:
        super().__init__(active_dims)
        self.register_scalar("noise", noise)

    @override
    def expression(self) -> Node:
        return Scaled(self.noise, Leaf(IdentityProfile()))

    @override
    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        check_smoothness(self, (*orders1, *orders2), 0)
        same = torch.eye(len(x1), len(x2), dtype=x1.dtype, device=x1.device)
        scale = self.noise.to(x1)[..., None, None]
        return scale * (same if torch.equal(x1, x2) else torch.zeros_like(same))

    @override
    def arguments(self) -> dict[str, Any]:
        return {"noise": self.noise}
