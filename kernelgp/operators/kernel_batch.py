"""The batch dimensions of a kernel's hyperparameters, indexed without losing their graph."""

from typing import Any, cast

import gpytorch
import torch
from torch import Tensor
from torch.nn import Module

from kernelgp.operators.substitute import substitute

__all__ = ["index_kernel"]


def index_kernel(kernel: Module, batch: torch.Size, index: tuple[Any, ...]) -> Module:
    """The kernel expanded to `batch`, its hyperparameters then indexed.

    gpytorch's own indexing is right for buffers and bounds, but copies parameters by value: they
    are put in its result once more, with their graph.
    """
    given = cast(Any, kernel)
    if not given.batch_shape:
        return kernel
    parameters = dict(given.named_parameters())
    bare = substitute(given, [parameter.detach() for parameter in parameters.values()])
    indexed = bare.expand_batch(batch)[index]
    tensors = [
        _index_parameter(parameter, given.get_submodule(name.rpartition(".")[0]), batch, index)
        for name, parameter in parameters.items()
    ]
    return substitute(indexed, tensors)


def _index_parameter(
    parameter: Tensor, owner: Any, batch: torch.Size, index: tuple[Any, ...]
) -> Tensor:
    is_kernel = isinstance(owner, gpytorch.kernels.Kernel)
    own = parameter.shape[len(owner._batch_shape) :] if is_kernel else parameter.shape
    return parameter.expand(*batch, *own)[index]
