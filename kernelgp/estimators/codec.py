"""What an estimator is made of as JSON and arrays, and back.

Nothing that is read is run: a record may name the dataclasses and modules of kernelgp, the
likelihoods and means of gpytorch, and kernels of a fixed list (`kernelgp.kernels.records`); their
fields are filled in, and no other constructor is called.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import gpytorch
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.gaussian_process import kernels as sklearn_kernels
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.kernels.records import from_record, parameters_record, restore_parameters, to_record

__all__ = ["Arrays", "decode", "encode"]

Arrays = dict[str, NDArray[Any]]


def encode(name: str, value: Any, arrays: Arrays) -> Any:
    """`value` as JSON; `name` is its place, under which arrays are put."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kind, encode in _ENCODERS:
        if isinstance(value, kind):
            return encode(name, value, arrays)
    given = f"an object of class {type(value).__qualname__}, which no file can hold"
    raise ArgumentError(name, given, "save with plain values, arrays and kernels of kernelgp")


def decode(stored: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(stored, dict):
        return stored
    return _DECODERS[stored["is"]](stored["of"], arrays)


def _encode_list(name: str, values: Any, arrays: Arrays) -> Any:
    kind = type(values).__name__
    if kind not in ("list", "tuple", "set", "frozenset", "Size"):
        return _encode_other(name, values, arrays)
    entries = [encode(f"{name}.{i}", value, arrays) for i, value in enumerate(values)]
    return {"is": "tuple" if kind == "Size" else kind, "of": entries}


def _encode_dict(name: str, values: Any, arrays: Arrays) -> Any:
    pairs = [
        [encode(name, key, arrays), encode(f"{name}.{key}", value, arrays)]
        for key, value in values.items()
    ]
    return {"is": "dict", "of": pairs}


def _encode_array(name: str, array: Any, arrays: Arrays) -> Any:
    if array.dtype.kind in "OUSMm":
        # Labels and names, of which there are few.
        entries = [encode(name, entry, arrays) for entry in array.ravel().tolist()]
        kind = array.dtype.str if array.dtype.kind != "O" else "O"
        return {"is": "objects", "of": [entries, list(array.shape), kind]}
    arrays[name] = np.array(array)
    return {"is": "array", "of": name}


def _encode_scalar(name: str, value: Any, arrays: Arrays) -> Any:
    del name, arrays
    return {"is": "scalar", "of": [value.item(), value.dtype.str]}


def _encode_tensor(name: str, tensor: Any, arrays: Arrays) -> Any:
    arrays[name] = tensor.detach().cpu().numpy()
    return {"is": "tensor", "of": [name, str(tensor.device), tensor.requires_grad]}


def _encode_dtype(name: str, value: Any, arrays: Arrays) -> Any:
    del name, arrays
    return {"is": "dtype", "of": str(value).removeprefix("torch.")}


def _encode_device(name: str, value: Any, arrays: Arrays) -> Any:
    del name, arrays
    return {"is": "device", "of": str(value)}


def _encode_kernel(name: str, kernel: Any, arrays: Arrays) -> Any:
    del name, arrays
    return {"is": "kernel", "of": to_record(kernel)}


def _encode_module(name: str, module: Any, arrays: Arrays) -> Any:
    """A small module of kernelgp's or a likelihood of gpytorch's: parameters, attributes, parts."""
    kind = type(module)
    public = {
        key: encode(f"{name}.{key}", value, arrays)
        for key, value in vars(module).items()
        if not key.startswith("_") and key != "training"
    }
    parts = {
        key: encode(f"{name}.{key}", part, arrays)
        for key, part in module.named_children()
        if not isinstance(part, _IMPLIED)
    }
    return {
        "is": "module",
        "of": {
            "class": _class_name(name, kind),
            "attributes": public,
            "parts": parts,
            "parameters": parameters_record(module),
        },
    }


def _encode_other(name: str, value: Any, arrays: Arrays) -> Any:
    """A dataclass or a random generator."""
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        return {"is": "RandomState", "of": encode(name, state, arrays)}
    if isinstance(value, np.random.Generator):
        return {"is": "Generator", "of": encode(name, value.bit_generator.state, arrays)}
    if isinstance(value, torch.Generator):
        return {"is": "torch.Generator", "of": encode(name, value.get_state(), arrays)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: encode(f"{name}.{field.name}", getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
        return {"is": "record", "of": {"class": _class_name(name, type(value)), "fields": fields}}
    given = f"an object of class {type(value).__qualname__}, which no file can hold"
    raise ArgumentError(name, given, "save with plain values, arrays and kernels of kernelgp")


_ENCODERS: list[tuple[Any, Callable[[str, Any, Arrays], Any]]] = [
    (list | tuple | set | frozenset, _encode_list),
    (dict, _encode_dict),
    (np.ndarray, _encode_array),
    (np.generic, _encode_scalar),
    (Tensor, _encode_tensor),
    (torch.dtype, _encode_dtype),
    (torch.device, _encode_device),
    (gpytorch.kernels.Kernel | sklearn_kernels.Kernel, _encode_kernel),
    (gpytorch.Module, _encode_module),
    (object, _encode_other),
]


# Parts that parameters carry, or that are always the same.
_IMPLIED = (
    gpytorch.constraints.Interval
    | gpytorch.priors.Prior
    | gpytorch.utils.quadrature.GaussHermiteQuadrature1D
)


def _class_name(name: str, kind: type) -> str:
    found = f"{kind.__module__}:{kind.__qualname__}"
    if not _is_known(kind.__module__) or _class(found) is not kind:
        given = f"an object of class {kind.__qualname__}"
        raise ArgumentError(name, given, "save with classes of kernelgp or gpytorch")
    return found


def _is_known(module: str) -> bool:
    return module.startswith(("kernelgp.", "gpytorch.likelihoods", "gpytorch.means"))


def _class(name: str) -> Any:
    module, _, qualified = name.partition(":")
    if not _is_known(module):
        raise KeyError(name)
    found = getattr(importlib.import_module(module), qualified)
    if not (dataclasses.is_dataclass(found) or issubclass(found, gpytorch.Module)):
        raise KeyError(name)
    return found


def _decode_record(stored: Any, arrays: Any) -> Any:
    kind = _class(stored["class"])
    names = {field.name for field in dataclasses.fields(kind)}
    if names != stored["fields"].keys():
        raise KeyError(*sorted(names ^ stored["fields"].keys()))
    found = object.__new__(kind)
    for name, value in stored["fields"].items():
        object.__setattr__(found, name, decode(value, arrays))
    return found


def _decode_module(stored: Any, arrays: Any) -> Any:
    kind = _class(stored["class"])
    found = kind.__new__(kind)
    gpytorch.Module.__init__(found)
    for name, value in stored["attributes"].items():
        setattr(found, name, decode(value, arrays))
    for name, part in stored["parts"].items():
        found.add_module(name, decode(part, arrays))
    for name, parameter in stored["parameters"].items():
        value = torch.tensor(parameter["value"], dtype=getattr(torch, parameter["dtype"]))
        found.register_parameter(name, torch.nn.Parameter(value))
    restore_parameters(found, stored["parameters"])
    if issubclass(kind, gpytorch.likelihoods.likelihood._OneDimensionalLikelihood):
        found.quadrature = gpytorch.utils.quadrature.GaussHermiteQuadrature1D()
    return found


def _decode_objects(stored: Any, arrays: Any) -> Any:
    entries, shape, kind = stored
    values = [decode(entry, arrays) for entry in entries]
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found.astype(kind).reshape(shape)


def _decode_tensor(stored: Any, arrays: Any) -> Tensor:
    name, device, learned = stored
    return torch.tensor(arrays[name], device=_device(device)).requires_grad_(learned)


def _device(name: str) -> torch.device:
    device = torch.device(name)
    return device if device.type == "cpu" or torch.cuda.is_available() else torch.device("cpu")


def _decode_random_state(stored: Any, arrays: Any) -> np.random.RandomState:
    state = decode(stored, arrays)
    found = np.random.RandomState(_bit_generator(state))
    found.set_state(state)
    return found


def _decode_generator(stored: Any, arrays: Any) -> np.random.Generator:
    state = decode(stored, arrays)
    bits = _bit_generator(state)
    bits.state = state
    return np.random.Generator(bits)


def _bit_generator(state: Mapping[str, Any]) -> Any:
    names = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    return {name: getattr(np.random, name) for name in names}[state["bit_generator"]]()


def _decode_torch_generator(stored: Any, arrays: Any) -> torch.Generator:
    found = torch.Generator()
    found.set_state(decode(stored, arrays))
    return found


def _entries(stored: Any, arrays: Any) -> list[Any]:
    return [decode(entry, arrays) for entry in stored]


_DECODERS: dict[str, Callable[[Any, Any], Any]] = {
    "list": _entries,
    "tuple": lambda stored, arrays: tuple(_entries(stored, arrays)),
    "set": lambda stored, arrays: set(_entries(stored, arrays)),
    "frozenset": lambda stored, arrays: frozenset(_entries(stored, arrays)),
    "dict": lambda stored, arrays: {
        decode(key, arrays): decode(value, arrays) for key, value in stored
    },
    "array": lambda stored, arrays: arrays[stored],
    "objects": _decode_objects,
    "scalar": lambda stored, _: np.dtype(stored[1]).type(stored[0]),
    "tensor": _decode_tensor,
    "dtype": lambda stored, _: getattr(torch, stored),
    "device": lambda stored, _: _device(stored),
    "kernel": lambda stored, _: from_record(stored),
    "module": _decode_module,
    "record": _decode_record,
    "RandomState": _decode_random_state,
    "Generator": _decode_generator,
    "torch.Generator": _decode_torch_generator,
}
