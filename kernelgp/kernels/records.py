"""Kernels as JSON and back: what each was told, and its hyperparameters to the last bit.

A record names a class of a fixed list and holds numbers; reading one calls constructors of that
list and nothing else. Numbers are written so that they come back exactly, the raw parameter and
its reference (see `kernelgp.kernels.positive`) each by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import gpytorch
import torch
from gpytorch import constraints as peer_constraints
from gpytorch import priors as peer_priors
from sklearn.gaussian_process import kernels as sklearn_kernels
from torch import Tensor
from torch.nn import Module, Parameter

from kernelgp.errors import ArgumentError
from kernelgp.kernels import combination
from kernelgp.kernels.constant import Constant, White
from kernelgp.kernels.dot_product import Linear, Polynomial
from kernelgp.kernels.matern import Matern
from kernelgp.kernels.periodic import Periodic, RadialPeriodic
from kernelgp.kernels.positive import ExactPositive
from kernelgp.kernels.rational_quadratic import RationalQuadratic
from kernelgp.kernels.rbf import RBF
from kernelgp.kernels.spectral_mixture import SpectralMixture

__all__ = ["from_record", "parameters_record", "restore_parameters", "to_record"]

Record = dict[str, Any]

# Of each class what its constructor takes besides kernels: settings, and hyperparameters, whose
# shape matters and whose values are put right afterwards.
_OURS: dict[str, tuple[type, tuple[str, ...]]] = {
    "RBF": (RBF, ("lengthscale",)),
    "Matern": (Matern, ("nu", "lengthscale")),
    "RationalQuadratic": (RationalQuadratic, ("alpha", "lengthscale")),
    "Periodic": (Periodic, ("period", "lengthscale")),
    "RadialPeriodic": (RadialPeriodic, ("period", "lengthscale")),
    "Linear": (Linear, ()),
    "Polynomial": (Polynomial, ("degree", "offset")),
    "Constant": (Constant, ()),
    "White": (White, ("noise",)),
    "SpectralMixture": (
        SpectralMixture,
        ("envelope", "frequencies", "lengthscales", "weights", "nu"),
    ),
}
_PEERS: dict[str, tuple[str, ...]] = {
    "RBFKernel": (),
    "MaternKernel": ("nu",),
    "PeriodicKernel": (),
    "RQKernel": (),
    "CosineKernel": (),
    "LinearKernel": (),
    "ConstantKernel": (),
    "PolynomialKernel": ("power",),
}
_CONSTRAINTS = ("Interval", "GreaterThan", "LessThan", "Positive")
_PRIORS = {
    "GammaPrior": ("concentration", "rate"),
    "NormalPrior": ("loc", "scale"),
    "LogNormalPrior": ("loc", "scale"),
    "HalfNormalPrior": ("scale",),
    "HalfCauchyPrior": ("scale",),
    "UniformPrior": ("low", "high"),
    "SmoothedBoxPrior": ("a", "b", "sigma"),
}


def to_record(kernel: Any) -> Record:
    """The kernel as what JSON holds.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel
        Sums, products, powers and multiples too. Of gpytorch's the usual ones, with their own
        constraints and priors.

    Raises
    ------
    ArgumentError
        If a part is of a class that is not on the list, such as one of the user's own.

    Examples
    --------
    >>> record = to_record(2.0 * RBF(lengthscale=0.3))
    >>> record["kind"], record["kernels"][0]["kind"]
    ('kernelgp.ScaledKernel', 'kernelgp.RBF')
    >>> from_record(record)
    2.0 * RBF(lengthscale=0.3)
    """
    if isinstance(kernel, sklearn_kernels.Kernel):
        return _sklearn_record(kernel)
    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise _refused(kernel)
    kind = type(kernel)
    library = "kernelgp" if hasattr(kernel, "expression") else "gpytorch"
    record: Record = {"kind": f"{library}.{kind.__name__}"}
    inner: Any = kernel
    match kernel:
        case combination.ScaledKernel() | gpytorch.kernels.ScaleKernel():
            record["kernels"] = [to_record(inner.base_kernel)]
        case combination.PowerKernel():
            record |= {"kernels": [to_record(inner.parts[0])], "exponent": inner.exponent}
        case combination.SumKernel() | combination.ProductKernel():
            record["kernels"] = [to_record(part) for part in inner.kernels]
        case gpytorch.kernels.AdditiveKernel() | gpytorch.kernels.ProductKernel():
            record["kernels"] = [to_record(part) for part in inner.kernels]
        case _ if library == "kernelgp" and _OURS.get(kind.__name__, (None,))[0] is kind:
            record["active_dims"] = None if inner.columns is None else list(inner.columns)
            settings = _OURS[kind.__name__][1]
            record["settings"] = {name: _plain(getattr(inner, name)) for name in settings}
        case _ if library == "gpytorch" and getattr(gpytorch.kernels, kind.__name__, None) is kind:
            if kind.__name__ not in _PEERS:
                raise _refused(kernel)
            dims = inner.active_dims
            record |= {
                "active_dims": None if dims is None else dims.tolist(),
                "ard_num_dims": inner.ard_num_dims,
                "batch_shape": list(inner.batch_shape),
                "settings": {name: getattr(inner, name) for name in _PEERS[kind.__name__]},
            }
        case _:
            raise _refused(kernel)
    return record | {"parameters": parameters_record(kernel)}


def from_record(record: Mapping[str, Any]) -> Any:
    """The kernel that `to_record` was given.

    Raises
    ------
    KeyError
        If the record is of another version.
    """
    library, name = record["kind"].split(".")
    if library == "sklearn":
        return _sklearn_kernel(name, record["settings"])
    kernels = [from_record(part) for part in record.get("kernels", ())]
    kernel = _BUILDERS[library](name, kernels, record)
    restore_parameters(kernel, record["parameters"])
    return kernel


def _build_ours(name: str, kernels: list[Any], record: Mapping[str, Any]) -> Any:
    if name == "ScaledKernel":
        scale = torch.tensor(record["parameters"]["raw_outputscale"]["value"]).double()
        return combination.ScaledKernel(torch.ones_like(scale), kernels[0])
    if name == "PowerKernel":
        return combination.PowerKernel(kernels[0], record["exponent"])
    if name == "SumKernel":
        return combination.SumKernel(*kernels)
    if name == "ProductKernel":
        return combination.ProductKernel(*kernels)
    settings = {key: _tensor(value) for key, value in record["settings"].items()}
    return _OURS[name][0](**settings, active_dims=record["active_dims"])


def _build_peer(name: str, kernels: list[Any], record: Mapping[str, Any]) -> Any:
    if name == "ScaleKernel":
        shape = torch.tensor(record["parameters"]["raw_outputscale"]["value"]).shape
        return gpytorch.kernels.ScaleKernel(kernels[0], batch_shape=shape)
    if name in ("AdditiveKernel", "ProductKernel"):
        return getattr(gpytorch.kernels, name)(*kernels)
    if name not in _PEERS:
        raise KeyError(name)
    dims = record["active_dims"]
    return getattr(gpytorch.kernels, name)(
        **record["settings"],
        ard_num_dims=record["ard_num_dims"],
        batch_shape=torch.Size(record["batch_shape"]),
        active_dims=None if dims is None else tuple(dims),
    )


_BUILDERS: dict[str, Callable[[str, list[Any], Mapping[str, Any]], Any]] = {
    "kernelgp": _build_ours,
    "gpytorch": _build_peer,
}


def parameters_record(module: Module) -> Record:
    """The parameters of one module, not of those within it, with constraints and priors."""
    gp: Any = module
    # What a prior is of is a function there; gpytorch's own kernels name the prior after it.
    priors = {name: _prior_record(name, prior) for name, (prior, *_) in gp._priors.items()}
    return {
        name: {
            "value": parameter.detach().cpu().tolist(),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "learned": parameter.requires_grad,
            "constraint": _constraint_record(name, gp.constraint_for_parameter_name(name)),
            "priors": {
                prior: record
                for prior, record in priors.items()
                if name in (prior.removesuffix("_prior"), f"raw_{prior.removesuffix('_prior')}")
            },
        }
        for name, parameter in module.named_parameters(recurse=False)
    }


def restore_parameters(module: Module, record: Mapping[str, Any]) -> None:
    """Put back what `parameters_record` took, in a module with parameters of these names."""
    gp: Any = module
    for name, stored in record.items():
        value = torch.tensor(stored["value"], dtype=getattr(torch, stored["dtype"]))
        module._parameters[name] = Parameter(value, requires_grad=stored["learned"])
        if stored["constraint"] is not None:
            gp.register_constraint(name, _constraint(stored["constraint"]))
            # Registering a constraint moves a value that it does not allow.
            module._parameters[name] = Parameter(value, requires_grad=stored["learned"])
        for prior, stored_prior in stored["priors"].items():
            kind = getattr(peer_priors, stored_prior["kind"])
            values = [torch.tensor(v, dtype=torch.float64) for v in stored_prior["values"]]
            gp.register_prior(prior, kind(*values), prior.removesuffix("_prior"))


def _constraint_record(name: str, constraint: Any) -> Record | None:
    if constraint is None:
        return None
    kind = type(constraint).__name__
    if isinstance(constraint, ExactPositive):
        reference = constraint.reference
        return {"kind": kind, "reference": reference.detach().cpu().double().tolist()}
    transform = getattr(constraint._transform, "__name__", None)
    plain = transform in ("softplus", "sigmoid", "exp", None)
    if getattr(peer_constraints, kind, None) is not type(constraint) or not plain:
        remedy = f"save with one of {', '.join(_CONSTRAINTS)} of gpytorch"
        raise ArgumentError(name, f"a constraint of class {kind}", remedy)
    return {
        "kind": kind,
        "transform": transform,
        "bounds": [constraint.lower_bound.tolist(), constraint.upper_bound.tolist()],
    }


def _constraint(record: Mapping[str, Any]) -> Any:
    kind = record["kind"]
    if kind == "ExactPositive":
        return ExactPositive(torch.tensor(record["reference"], dtype=torch.float64))
    if kind not in _CONSTRAINTS:
        raise KeyError(kind)
    lower, upper = (torch.tensor(bound) for bound in record["bounds"])
    transforms = {"exp": (torch.exp, torch.log)}.get(record["transform"])
    extra = {} if transforms is None else dict(zip(_TRANSFORMS, transforms, strict=True))
    bounds = {"Interval": (lower, upper), "GreaterThan": (lower,), "LessThan": (upper,)}
    return getattr(peer_constraints, kind)(*bounds.get(kind, ()), **extra)


_TRANSFORMS = ("transform", "inv_transform")


def _prior_record(name: str, prior: Any) -> Record:
    kind = type(prior).__name__
    if kind not in _PRIORS or not name.endswith("_prior"):
        remedy = f"save with one of {', '.join(_PRIORS)}, or without it"
        raise ArgumentError(name, f"a prior of class {kind}", remedy)
    return {"kind": kind, "values": [_plain(getattr(prior, key)) for key in _PRIORS[kind]]}


def _sklearn_record(kernel: Any) -> Record:
    name = type(kernel).__name__
    if getattr(sklearn_kernels, name, None) is not type(kernel):
        raise _refused(kernel)
    settings = {}
    for key, value in kernel.get_params(deep=False).items():
        inner = isinstance(value, sklearn_kernels.Kernel)
        settings[key] = {"kernel": to_record(value)} if inner else _plain(value)
    return {"kind": f"sklearn.{name}", "settings": settings}


def _sklearn_kernel(name: str, settings: Mapping[str, Any]) -> Any:
    kind = getattr(sklearn_kernels, name)
    if not (isinstance(kind, type) and issubclass(kind, sklearn_kernels.Kernel)):
        raise KeyError(name)
    found = {
        key: from_record(value["kernel"])
        if isinstance(value, dict)
        else tuple(value)
        if key.endswith("_bounds") and isinstance(value, list)
        else value
        for key, value in settings.items()
    }
    return cast(Any, kind)(**found)


def _plain(value: Any) -> Any:
    """A number or numbers as JSON."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _tensor(value: Any) -> Any:
    """Numbers of a list as a tensor, which constructors take with its shape as it is."""
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value


def _refused(kernel: Any) -> ArgumentError:
    remedy = "build it from kernelgp.kernels, whose classes a file can name"
    return ArgumentError("kernel", f"an object of class {type(kernel).__qualname__}", remedy)
