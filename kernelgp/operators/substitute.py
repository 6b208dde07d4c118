"""A kernel with other tensors in the place of its parameters, sharing all else with it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import Module

__all__ = ["substitute"]

ModuleT = TypeVar("ModuleT", bound=Module)


def substitute(module: ModuleT, tensors: Sequence[Tensor]) -> ModuleT:
    """A structural copy of `module` whose parameters are `tensors`.

    Modules and their dictionaries of parameters and children are copied, down the tree; buffers
    and all other attributes are shared. Nothing of the original changes, and a graph runs from
    what the copy computes to the tensors given, whatever happens to the original later.

    Parameters
    ----------
    tensors
        One for each of ``module.named_parameters()``, in that order. A parameter that stands
        at two places is one parameter and stays so.

    Examples
    --------
    >>> import torch
    >>> linear = torch.nn.Linear(1, 1)
    >>> other = substitute(linear, [torch.ones(1, 1), torch.zeros(1)])
    >>> other(torch.ones(1)), other is linear
    (tensor([1.]), False)
    """
    parameters = [parameter for _, parameter in module.named_parameters()]
    replacements = dict(zip(map(id, parameters), tensors, strict=True))
    return _copy(module, replacements, {})


def _copy(module: Any, replacements: dict[int, Tensor], done: dict[int, Module]) -> Any:
    if id(module) in done:
        return done[id(module)]
    # Not `copy.copy`: a module may define its own pickling, which need not keep what it shares.
    clone = module.__class__.__new__(module.__class__)
    done[id(module)] = clone
    state = dict(module.__dict__)
    state["_parameters"] = {
        name: parameter if parameter is None else replacements[id(parameter)]
        for name, parameter in module._parameters.items()
    }
    state["_modules"] = {
        name: child if child is None else _copy(child, replacements, done)
        for name, child in module._modules.items()
    }
    clone.__dict__.update(state)
    return clone
