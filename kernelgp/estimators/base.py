"""The door of every estimator: arrays and frames in, tensors of one dtype inside, arrays out.

scikit-learn's own checks speak first, in its words; what it does not know of (kernels, noise,
devices) follows in ours. Nothing here is a base class: an estimator calls what it needs.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import gpytorch
import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import validation as sklearn_validation
from torch import Tensor
from torch.nn import Parameter

from kernelgp.arrays import as_device, from_torch, give_back
from kernelgp.errors import ArgumentError
from kernelgp.kernels import Matern, ProductKernel, ScaledKernel, SumKernel, White
from kernelgp.kernels.foreign import as_ours
from kernelgp.kernels.positive import ExactPositive
from kernelgp.validation import check_choice, check_positive

__all__ = [
    "Scales",
    "Training",
    "as_device",
    "as_dtype",
    "as_kernel",
    "check_choice",
    "check_count",
    "check_levels",
    "give_back",
    "read_features",
    "read_noise",
    "read_training",
    "rescaled_start",
    "without_white",
]

Kernel = gpytorch.kernels.Kernel

# scikit-learn's functions have no types; what they return depends on what they are given.
check_array: Any = sklearn_validation.check_array
validate_data: Any = sklearn_validation.validate_data


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """What `fit` was given, checked.

    Attributes
    ----------
    x : Tensor, shape (n, d)
    y : Tensor, shape (n,) or (n, k)
        NaN where a target is missing, if that was allowed.
    weights : Tensor, shape (n,), or None
        Positive; rows of weight zero are gone.
    kept : Tensor of bool, shape (rows given,)
        The rows that are left.
    """

    x: Tensor
    y: Tensor
    weights: Tensor | None
    kept: Tensor


def read_training(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    missing: bool = False,
    dtype: Any = None,
    device: Any = None,
) -> Training:
    """Check what `fit` got, set `n_features_in_` and `feature_names_in_`, and make tensors of it.

    Parameters
    ----------
    X : array, frame or Tensor, shape (n, d)
    y : array, series, frame or Tensor, shape (n,) or (n, k)
    sample_weight : array, shape (n,), optional
    missing
        Whether NaN in `y` stands for a target that was not observed.
    dtype, device
        As `as_dtype` and `as_device` take them; by default float32 where both X and y are, and
        where X is.

    Raises
    ------
    ValueError
        scikit-learn's own, where X or y cannot be used.
    ArgumentError
        If a weight is negative, or all are zero.
    """
    X, device = from_torch(X, device)
    y, _ = from_torch(y, None)
    if y is None:
        validate_data(estimator, X, y, **_READ)  # refuses it in scikit-learn's words
    # Not both at once: where targets may be missing, NaN in y is no error.
    array = validate_data(estimator, X, **_READ)
    targets = check_array(
        y,
        ensure_2d=False,
        dtype="numeric",
        ensure_all_finite="allow-nan" if missing else True,
        input_name="y",
        estimator=estimator,
    )
    if targets.ndim > 2 or 0 in targets.shape:
        given = f"shape {targets.shape}"
        raise ArgumentError("y", given, "give (n,), or (n, k) for several outputs")
    sklearn_validation.check_consistent_length(array, targets)
    chosen = as_dtype(dtype)
    if chosen is None:
        both = (array.dtype, targets.dtype if targets.dtype.kind == "f" else array.dtype)
        chosen = torch.float32 if np.result_type(*both) == np.float32 else torch.float64
    x, t = (
        torch.tensor(np.ascontiguousarray(a), dtype=chosen, device=device) for a in (array, targets)
    )
    weights = _read_weights(sample_weight, len(x))
    if weights is None:
        return Training(x, t, None, torch.ones(len(x), dtype=torch.bool))
    kept = weights > 0
    return Training(x[kept], t[kept], weights[kept].to(x), kept)


_READ: dict[str, Any] = {"dtype": [np.float64, np.float32]}


def read_features(
    estimator: BaseEstimator, X: Any, *, dtype: torch.dtype, device: torch.device | str
) -> Tensor:
    """The rows to predict at, shape (m, d), if they have the columns that `fit` saw."""
    X, _ = from_torch(X, None)
    array = validate_data(estimator, X, reset=False, **_READ)
    return torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device)


def _read_weights(sample_weight: Any, n: int) -> Tensor | None:
    if sample_weight is None:
        return None
    sample_weight, _ = from_torch(sample_weight, None)
    if np.isscalar(sample_weight):
        sample_weight = np.full(n, sample_weight)
    array = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if array.shape != (n,):
        given = f"shape {array.shape}"
        raise ArgumentError("sample_weight", given, f"give ({n},), one for each row of X")
    if (array < 0).any():
        given = f"a smallest value of {array.min():.3g}"
        raise ArgumentError("sample_weight", given, "give numbers that are not negative")
    if not (array > 0).any():
        raise ArgumentError("sample_weight", "zeros only", "give a row some weight")
    return torch.tensor(array)


def as_dtype(dtype: Any) -> torch.dtype | None:
    """float32 or float64 from a torch or numpy dtype or its name; None stays None."""
    if dtype is None or dtype in (torch.float32, torch.float64):
        return dtype
    names = {"float32": torch.float32, "float64": torch.float64}
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in names:
        raise ArgumentError("dtype", repr(dtype), 'give "float32" or "float64"')
    return names[name]


def check_count(name: str, value: Any, *, least: int) -> None:
    """Refuse what is not a whole number from `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise ArgumentError(name, repr(value), f"give a whole number from {least}")


def check_levels(levels: Any) -> Tensor | None:
    """Levels of quantiles, shape (q,), or None for none."""
    if levels is None:
        return None
    given = torch.as_tensor(np.atleast_1d(np.asarray(levels, dtype=np.float64)))
    if given.dim() != 1 or not len(given) or not bool(((given > 0) & (given < 1)).all()):
        raise ArgumentError("return_quantiles", str(levels), "give levels between 0 and 1")
    return given


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """Where the data lie and how far they spread; what standardisation divides by.

    Kernels stay in the user's units throughout: the spread of the inputs sets starting values
    and bounds of lengthscales, and covariances are divided by the variance of the targets.

    Attributes
    ----------
    x_shift, x_scale : Tensor, shape (d,), float64
        Mean and standard deviation; 0 and 1 without `normalize_x`, and scale 1 where a column is
        constant.
    y_shift, y_scale : Tensor, shape (k,), float64
        The same of every output; k is 1 for targets of one dimension.
    constant : Tensor of bool, shape (k,)
        The outputs that do not vary.
    """

    x_shift: Tensor
    x_scale: Tensor
    y_shift: Tensor
    y_scale: Tensor
    constant: Tensor

    @classmethod
    def of(cls, data: Training, *, normalize_x: bool, normalize_y: bool) -> "Scales":
        """Those of the data; repeated rows and whole weights come to the same."""
        y = data.y.reshape(len(data.y), -1)
        for name, values in {"X": data.x, "y": y}.items():
            _check_range(name, values)
        x_shift, x_scale, _ = _spread(data.x, data.weights)
        y_shift, y_scale, constant = _spread(y, data.weights)
        if not normalize_x:
            x_shift, x_scale = torch.zeros_like(x_shift), torch.ones_like(x_scale)
        if not normalize_y:
            y_shift, y_scale = torch.zeros_like(y_shift), torch.ones_like(y_scale)
        return cls(x_shift, x_scale, y_shift, y_scale, constant)


def _check_range(name: str, values: Tensor) -> None:
    """Refuse numbers whose squares float64 cannot hold."""
    seen = values.double().nan_to_num(nan=0.0)
    largest, width = seen.abs().max().item(), (seen.amax(0) - seen.amin(0))
    narrow = width[width > 0]
    if largest > 1e140 or (len(narrow) and narrow.min().item() < 1e-140):
        given = f"values up to {largest:.3g}, with a column {width.min().item():.3g} wide"
        raise ArgumentError(name, given, "rescale them: float64 cannot hold their squares")


def _spread(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation (1 where there is none) and where there is none, per column."""
    seen = values.double()
    share = (~seen.isnan()).double()
    if weights is not None:
        share = share * weights.double().unsqueeze(-1)
    share = share / share.sum(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    filled = seen.nan_to_num(nan=0.0)
    # From a value of the column itself, so that a huge offset costs no digits.
    origin = filled.gather(0, share.argmax(dim=0, keepdim=True)).squeeze(0)
    away = filled - origin
    mean = (share * away).sum(dim=0)
    deviation = (share * (away - mean).square()).sum(dim=0).sqrt()
    shift = origin + mean
    flat = ~(deviation > 8 * torch.finfo(values.dtype).eps * shift.abs())
    return shift, torch.where(flat, 1.0, deviation), flat


def as_kernel(kernel: Any, x_scale: Tensor, *, default: Callable[..., Any] = Matern) -> Kernel:
    """The kernel an estimator was given, as one of ours where possible; always a copy.

    Parameters
    ----------
    kernel : kernelgp, gpytorch or scikit-learn kernel, or None
        None is `default` (Matérn-5/2) times a variance, with a lengthscale for each input that
        begins at half its spread times the root of their number. A gpytorch kernel
        that has priors or constraints of its own, or that we have no equal of, stays what it is.
    x_scale : Tensor, shape (d,)

    Raises
    ------
    ArgumentTypeError
        If it is none of these.
    """
    if kernel is None:
        start = 0.5 * len(x_scale) ** 0.5 * x_scale.double()
        return 1.0 * default(lengthscale=start)
    found = as_ours(kernel)
    if found.batch_shape:
        given = f"one with a batch of hyperparameters, {tuple(found.batch_shape)}"
        raise ArgumentError("kernel", given, "index the batch first, kernel[0]")
    if hasattr(found, "check_columns"):
        cast(Any, found).check_columns(torch.zeros(1, len(x_scale), dtype=torch.float64))
    return found


def rescaled_start(kernel: Kernel, x_scale: Tensor, y_scale: float) -> Kernel:
    """A copy whose numbers are read as those of standardised data, in the user's units.

    Variances are multiplied by the variance of the targets, lengthscales and periods by the spread
    of the inputs they see. A part of a sum without a variance gets that of the targets, which is
    not learned. Parameters that the user fixed stay as they are.
    """
    copy = deepcopy(kernel)
    if not hasattr(copy, "expression"):
        return copy
    typical = x_scale.double().log().mean().exp()
    for module in copy.modules():
        for name, raw in module.named_parameters(recurse=False):
            constraint = cast(Kernel, module).constraint_for_parameter_name(name)
            if not raw.requires_grad or not isinstance(constraint, ExactPositive):
                continue
            if name in ("raw_lengthscale", "raw_period") and not _is_phase(module, name):
                columns = getattr(module, "columns", None)
                own = x_scale if columns is None else x_scale[list(columns)]
                factor = own if raw.shape[-1:] == own.shape else typical
                constraint.reference = constraint.reference * factor

    return _times_variance(copy, y_scale**2)


def without_white(kernel: Any) -> tuple[Any, Any]:
    """A kernel whose white noise is taken for the noise, and that noise; None if it has none."""
    if not isinstance(kernel, SumKernel):
        return kernel, None
    white = [part for part in kernel.parts if isinstance(part, White)]
    rest = [part for part in kernel.parts if not isinstance(part, White)]
    if len(white) != 1 or not rest:
        return kernel, None
    return (SumKernel(*rest) if len(rest) > 1 else rest[0]), white[0]


def _times_variance(kernel: Any, factor: float) -> Any:
    """`factor` times the kernel, in its own variances as far as it has them."""
    if isinstance(kernel, SumKernel):
        kernel.kernels = torch.nn.ModuleList(_times_variance(k, factor) for k in kernel.parts)
        return kernel
    for name in ("outputscale", "noise"):
        raw = kernel._parameters.get(f"raw_{name}")
        if raw is not None:
            if raw.requires_grad:
                setattr(kernel, name, getattr(kernel, name).detach() * factor)
            return kernel
    if type(kernel) is ProductKernel:
        parts = kernel.parts
        for i, part in enumerate(parts):
            if isinstance(part, ScaledKernel):
                parts[i] = _times_variance(part, factor)
                return kernel
    if factor == 1.0:
        return kernel
    scaled = factor * kernel
    cast(Parameter, scaled.raw_outputscale).requires_grad = False
    return scaled


def _is_phase(module: Any, name: str) -> bool:
    """Whether a lengthscale is one of a phase, without units: that of a periodic kernel."""
    return name == "raw_lengthscale" and hasattr(module, "raw_period")


def read_noise(noise: Any, n: int, kept: Tensor) -> Tensor | None:
    """Variances () or (rows left,) in float64, or None for "learn".

    Raises
    ------
    ArgumentError
        If it is negative, not finite, or of another length than the rows of X.
    """
    if isinstance(noise, str):
        check_choice("noise", noise, ["learn"])
        return None
    values = check_positive(
        "noise", np.asarray(noise) if not isinstance(noise, Tensor) else noise, zero=True
    )
    values = values.detach().cpu()
    if values.dim() == 0 or values.shape == (1,):
        return values.reshape(())
    if values.shape != (n,):
        remedy = f'give one variance, {n}, one for each row of X, or "learn"'
        raise ArgumentError("noise", f"shape {tuple(values.shape)}", remedy)
    return values[kept]
