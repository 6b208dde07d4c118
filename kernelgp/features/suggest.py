"""Which map, and how many columns, for an error that one can live with."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from kernelgp.arrays import from_torch
from kernelgp.errors import ArgumentError
from kernelgp.features.fourier import FourierFeatures
from kernelgp.features.sampler import read_kernel
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["Suggestion", "suggest_features"]

_ROWS, _PILOT, _DRAWS, _ROUNDS = 400, 512, 3, 2
_MOST = 2**20


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to use.

    Attributes
    ----------
    features : FourierFeatures
        Not fitted.
    n_components : int
    predicted_error : float
        Seen on the rows looked at: relative, in the Frobenius norm of the kernel matrix.
    pilot_errors : dict of str to float
        The error seen of every coupling, with 512 columns.
    effective_dimension : float
        ``tr K (K + noise)⁻¹`` of the rows looked at, at the noise that the error amounts to:
        more columns than that help little.
    reason : str
    """

    features: FourierFeatures
    n_components: int
    predicted_error: float
    pilot_errors: dict[str, float]
    effective_dimension: float
    reason: str


def suggest_features(
    kernel: Any, X: Any, target_error: float = 0.05, random_state: RandomState = 0
) -> Suggestion:
    """Features for a kernel and data, by a pilot on some rows.

    Errors of independent features fall with the root of their number, and so do those of blocks
    once there are several; a pilot of each coupling measures the constant.

    Parameters
    ----------
    kernel : stationary kernel
    X : array or Tensor, shape (n, d)
        Of which 400 rows at most are looked at.
    target_error
        Relative error of the kernel matrix, in the Frobenius norm.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Returns
    -------
    Suggestion

    Raises
    ------
    ArgumentError
        If more than a million columns would be needed, or an argument cannot be used.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> found = suggest_features(RBF(lengthscale=3.0), X, target_error=0.02)
    >>> Z = found.features.fit_transform(X)
    >>> K = RBF(lengthscale=3.0)(torch.from_numpy(X)).to_dense().detach().numpy()
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 0.03 * np.linalg.norm(K))
    True
    """
    target = check_positive("target_error", target_error)
    if target.numel() != 1 or float(target) >= 1:
        raise ArgumentError("target_error", str(target_error), "give a number between 0 and 1")
    array = from_torch(X, None)[0]
    array = array.toarray() if sparse.issparse(array) else np.asarray(array, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        given = f"shape {array.shape}, finite: {bool(np.isfinite(array).all())}"
        raise ArgumentError("X", given, "give finite numbers of shape (n, d)")
    generator = as_generator(random_state)
    chosen = torch.randperm(len(array), generator=generator)[:_ROWS]
    rows = array[chosen.numpy()].astype(np.float64)
    d = rows.shape[1]
    ours = read_kernel(kernel, d)
    with torch.no_grad():
        exact = ours(torch.from_numpy(rows)).to_dense().numpy()
    size = np.linalg.norm(exact)
    couplings = ("orthogonal", "iid", "sobol") if d <= 32 else ("orthogonal", "iid")

    def measure(coupling: Any, n: int) -> float:
        seen = []
        for _ in range(_DRAWS):
            made = FourierFeatures(ours, n, coupling=coupling, random_state=generator)
            Z = made.fit_transform(rows)
            seen.append(np.linalg.norm(Z @ Z.T - exact) / size)
        return float(np.mean(seen))

    errors = {coupling: measure(coupling, _PILOT) for coupling in couplings}
    best: Any = min(errors, key=lambda name: errors[name])
    n, error = _PILOT, errors[best]
    # Again at the number found: few columns do not fill a block, and gain less from it.
    for _ in range(_ROUNDS):
        wanted = n * (error / float(target)) ** 2
        if wanted > _MOST:
            given = f"{float(target):.2g}, which takes some {wanted:.1e} columns"
            raise ArgumentError("target_error", given, "raise it, or use the kernel itself")
        n = max(2, 2 * math.ceil(wanted / 2))
        error = measure(best, n)
    values = np.linalg.eigvalsh(exact).clip(min=0)
    noise = float(target) * size / len(rows) ** 0.5
    rotation = "hadamard" if d >= 512 else "haar"
    reason = (
        f"with {_PILOT} columns {best} features err by {errors[best]:.2g}, independent ones by "
        f"{errors['iid']:.2g}; errors fall with the root of the number"
    )
    features = FourierFeatures(kernel, n, coupling=best, rotation=rotation)
    return Suggestion(features, n, error, errors, float((values / (values + noise)).sum()), reason)
