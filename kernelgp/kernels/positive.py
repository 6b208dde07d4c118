"""Positive hyperparameters, learned as logarithms and held exactly as given.

gpytorch keeps a positive number behind a softplus in float32, so that a lengthscale of 0.3 comes
back as 0.30000001192. Even in float64 no logarithm gives every number back: that of 1e-4 has
three bits fewer for the digits. So a value is kept as ``reference * exp(raw)``: the reference is
what was given, and `raw`, the parameter that is learned, starts at 0.
"""

from typing import Any, overload

import torch
from gpytorch import Module
from gpytorch.constraints import Positive
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from kernelgp.errors import ArgumentError
from kernelgp.validation import check_positive

__all__ = ["ExactPositive", "Hyperparameter"]


class ExactPositive(Positive):
    """The constraint ``value = reference * exp(raw)``, exact at ``raw = 0``.

    Parameters
    ----------
    reference : Tensor, of the shape of the raw parameter
        Positive; an entry of 0 stays at 0, whatever is learned.
    """

    def __init__(self, reference: Tensor) -> None:
        # gpytorch does not enforce a constraint without transforms.
        super().__init__(transform=torch.exp, inv_transform=torch.log)  # pyright: ignore[reportArgumentType]
        self.register_buffer("reference", reference)
        self.reference: Tensor

    @override
    def transform(self, tensor: Tensor) -> Tensor:
        return self.reference * tensor.exp()

    @override
    def inverse_transform(self, transformed_tensor: Tensor) -> Tensor:
        return (transformed_tensor / self.reference).log()


class Hyperparameter:
    """A positive number, or several, as an attribute of a kernel class, or of another module.

    ``lengthscale = Hyperparameter()`` in the class and ``self.lengthscale = value`` in its
    constructor register the parameter `raw_lengthscale` and its constraint, as gpytorch does;
    later assignments set the value and keep the parameter, which an optimiser may hold. Reading
    gives the value, with its graph to the raw parameter. A tensor that requires a gradient stays
    connected: the gradient reaches it.

    Parameters
    ----------
    zero
        Whether 0 is allowed; it then stays at 0.

    Raises
    ------
    ArgumentError
        On assignment of a number that is not positive and finite, or of another shape.
    """

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.raw = name, f"raw_{name}"

    @overload
    def __get__(self, kernel: None, owner: type) -> "Hyperparameter": ...
    @overload
    def __get__(self, kernel: Module, owner: type) -> Tensor: ...
    def __get__(self, kernel: Module | None, owner: type) -> "Hyperparameter | Tensor":
        if kernel is None:
            return self
        constraint = kernel.constraint_for_parameter_name(self.raw)
        assert constraint is not None
        return constraint.transform(getattr(kernel, self.raw))

    def __set__(self, kernel: Module, value: Any) -> None:
        attached = isinstance(value, Tensor) and value.requires_grad
        value = check_positive(self.name, value, zero=self.zero and not attached)
        constraint = kernel.constraint_for_parameter_name(self.raw)
        if constraint is None:
            kernel.register_parameter(self.raw, Parameter(torch.zeros_like(value)))
            constraint = ExactPositive(value)
            kernel.register_constraint(self.raw, constraint)
        value = self._expand(value, kernel._parameters[self.raw])
        if not isinstance(constraint, ExactPositive):
            # The user's own constraint, registered since.
            kernel.initialize(**{self.raw: constraint.inverse_transform(value)})
            return
        constraint.reference = value.detach().clone()
        if attached:
            # Not a leaf, so no `Parameter`: it carries the graph to the caller's tensor.
            kernel._parameters[self.raw] = (value / constraint.reference).log()  # pyright: ignore[reportArgumentType]
        elif isinstance(kernel._parameters[self.raw], Parameter):
            with torch.no_grad():
                getattr(kernel, self.raw).zero_()
        else:  # the graph of an earlier tensor, which this number replaces
            kernel._parameters[self.raw] = Parameter(torch.zeros_like(constraint.reference))

    def _expand(self, value: Tensor, raw: Tensor | None) -> Tensor:
        assert raw is not None
        try:
            return value.expand(raw.shape)
        except RuntimeError as error:
            given = f"{self.name} of shape {tuple(value.shape)}"
            remedy = f"give one number or shape {tuple(raw.shape)}, or construct a new kernel"
            raise ArgumentError(self.name, given, remedy) from error
