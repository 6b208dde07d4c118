"""The constant prior mean of latent functions, as a module whose numbers are learned."""

from torch import Tensor
from torch.nn import Module, Parameter

__all__ = ["Offset"]


class Offset(Module):
    """One number for each latent function.

    Parameters
    ----------
    values : Tensor, shape (c,), float64
    learned
        Whether an optimiser may change them.
    """

    def __init__(self, values: Tensor, *, learned: bool) -> None:
        super().__init__()
        self.constant = Parameter(values.detach().clone().double(), requires_grad=learned)
