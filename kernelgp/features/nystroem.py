"""Nyström features: a kernel through some of the rows, whichever way they are chosen.

References
----------
C. K. I. Williams and M. Seeger, *Using the Nyström method to speed up kernel machines*, 2001.
C. Musco and C. Musco, *Recursive sampling for the Nyström method*, NeurIPS 2017, algorithm 3
(ridge leverage scores).
Y. Chen, E. N. Epperly, J. A. Tropp and R. J. Webber, *Randomly pivoted Cholesky*, 2022.
"""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, NumericalWarning
from kernelgp.features.map import FeatureMap, Features
from kernelgp.features.transformer import FeatureTransformer, as_tensor
from kernelgp.kernels.foreign import as_ours
from kernelgp.linalg import pivoted_cholesky
from kernelgp.random import RandomState
from kernelgp.validation import check_choice, check_count, check_positive

__all__ = ["NystroemFeatures", "NystroemMap"]

METHODS = ("pivoted", "leverage", "uniform")
# Directions of the landmarks' kernel below this share of the largest are left out: rounding.
_CUT = 1e-12


class NystroemMap(FeatureMap):
    """``K(x, Z) V Λ^-1/2`` for landmarks Z with ``K(Z, Z) = V Λ Vᵀ``.

    Parameters
    ----------
    kernel : Kernel
        Becomes a part of this module; gradients reach its hyperparameters.
    landmarks : Tensor, shape (m, d)
    """

    landmarks: Tensor

    def __init__(self, kernel: Any, landmarks: Tensor) -> None:
        super().__init__(landmarks.shape[1], landmarks.shape[0])
        self.kernel = kernel
        self.register_buffer("landmarks", landmarks.double())

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        del generator
        raise ArgumentError("redraw", "a map of landmarks", "fit again with another random_state")

    @override
    def prepare(self, like: Tensor) -> Features:
        landmarks = self.landmarks.to(like.device)
        # A Cholesky factor, and not the eigenvectors: their derivatives blow up where two
        # eigenvalues come close. Both give the same inner products.
        K = self.kernel(landmarks).to_dense()
        unit = torch.eye(len(K), dtype=K.dtype, device=K.device)
        root = torch.linalg.cholesky(K + _CUT * K.diagonal().mean() * len(K) * unit)
        seen = landmarks.to(like)

        def features(x: Tensor) -> Tensor:
            flat = x.reshape(-1, self.d)
            cross = self.kernel(flat, seen).to_dense().to(K)
            made = torch.linalg.solve_triangular(root, cross.mT, upper=False).mT
            return made.to(like.dtype).reshape(*x.shape[:-1], self.n_components)

        return features


class NystroemFeatures(FeatureTransformer):
    """Features of any positive definite kernel, exact on the landmarks: ``Z Zᵀ ≤ K``.

    Where eigenvalues fall fast (smooth kernels, few inputs) far better than random features of
    the same number; where they do not, and for a kernel that many data sets share, those are.

    Parameters
    ----------
    kernel : kernel of kernelgp.kernels, gpytorch or scikit-learn, default=None
        None is a Gaussian kernel scaled to the data, as for `FourierFeatures`.
    n_components
        Landmarks; all rows where there are fewer.
    method : {"pivoted", "leverage", "uniform"}
        How landmarks are drawn from the rows of `fit`: in proportion to what those before leave
        of the diagonal (randomly pivoted Cholesky, O(n m²)), by approximate ridge leverage scores
        (O(n m²) too), or all alike.
    noise : float
        The ridge of the leverage scores: the noise variance of the regression that follows.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Attributes
    ----------
    kernel_ : Kernel
    components_ : ndarray, shape (n_landmarks, d)
        The landmarks.
    component_indices_ : ndarray, shape (n_landmarks,)
        Which rows of `fit` they are.

    Warns
    -----
    NumericalWarning
        If there are fewer rows than components.

    Examples
    --------
    >>> from kernelgp.kernels import Matern
    >>> X = np.random.default_rng(0).uniform(size=(300, 2))
    >>> Z = NystroemFeatures(Matern(2.5), 60, random_state=0).fit_transform(X)
    >>> K = Matern(2.5)(torch.from_numpy(X)).to_dense().detach().numpy()
    >>> bool(np.linalg.norm(Z @ Z.T - K) < 1e-3 * np.linalg.norm(K))
    True
    """

    def __init__(
        self,
        kernel: Any = None,
        n_components: int = 256,
        *,
        method: Literal["pivoted", "leverage", "uniform"] = "pivoted",
        noise: float = 1e-2,
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.n_components = n_components
        self.method: Literal["pivoted", "leverage", "uniform"] = method
        self.noise = noise
        self.random_state = random_state

    @property
    def components_(self) -> Any:
        return self._landmarks.numpy()

    @property
    def _landmarks(self) -> Tensor:
        return self._map.get_buffer("landmarks")

    @override
    def _make_map(self, kernel: Any, d: int, generator: torch.Generator) -> FeatureMap:
        check_choice("method", self.method, METHODS)
        check_positive("noise", self.noise)
        # Landmarks come with the rows (`_look_at`); until then any will do.
        self._drawing = generator
        return NystroemMap(kernel, torch.zeros(1, d, dtype=torch.float64))

    @override
    def as_module(self, d: int | None = None) -> FeatureMap:
        if d is not None:
            remedy = "fit first: landmarks are rows; then as_module() is a copy of the map"
            raise ArgumentError("d", str(d), remedy)
        return super().as_module()

    @override
    def _look_at(self, array: Any) -> None:
        rows = array.toarray() if sparse.issparse(array) else array
        x = as_tensor(np.ascontiguousarray(rows, dtype=np.float64))
        generator = self.__dict__.pop("_drawing")
        kernel, m = self.kernel_, int(self.n_components)
        if m > len(x):
            warnings.warn(
                f"n_components: {m} of {len(x)} rows; all of them are landmarks.",
                NumericalWarning,
                stacklevel=3,
            )
            m = len(x)
        with torch.no_grad():
            index = _choose(kernel, x, m, self.method, float(self.noise), generator)
        self.component_indices_ = index.numpy()
        self._set_map(NystroemMap(kernel, x[index]))

    @override
    def _kernel_of(self, found: Any) -> Any:
        return found.kernel

    @override
    def _read_kernel(self, d: int, default: Any) -> Any:
        check_count("n_components", self.n_components)
        kernel: Any = as_ours(default() if self.kernel is None else self.kernel)
        if kernel.batch_shape:
            given = f"one with a batch of hyperparameters, {tuple(kernel.batch_shape)}"
            raise ArgumentError("kernel", given, "index the batch first, kernel[0]")
        if hasattr(kernel, "check_columns"):
            kernel.check_columns(torch.zeros(1, d, dtype=torch.float64))
        return kernel


def _choose(
    kernel: Any, x: Tensor, m: int, method: str, noise: float, generator: torch.Generator
) -> Tensor:
    """The rows of m landmarks."""
    if method == "uniform" or m == len(x):
        return torch.randperm(len(x), generator=generator)[:m]
    if method == "pivoted":
        found = pivoted_cholesky(kernel(x), m, generator=generator).pivots
        # Where the kernel is used up, any rows do.
        spare = torch.ones(len(x), dtype=torch.bool)
        spare[found] = False
        return torch.cat([found, spare.nonzero().flatten()])[:m]
    scores = _leverage(kernel, x, torch.arange(len(x)), m, noise, generator)
    return torch.multinomial(scores.clamp(min=1e-12), m, generator=generator)


def _leverage(
    kernel: Any, x: Tensor, rows: Tensor, m: int, noise: float, generator: torch.Generator
) -> Tensor:
    """Scores of the rows named, from landmarks that half of them gave, and so on down."""
    if len(rows) <= m:
        return torch.ones(len(rows), dtype=torch.float64)
    half = rows[torch.randperm(len(rows), generator=generator)[: len(rows) // 2]]
    inner = _leverage(kernel, x, half, m, noise, generator)
    count = min(m, len(half))
    picked = torch.multinomial(inner.clamp(min=1e-12), count, generator=generator)
    # Each stands for as many as it was likely to be left out for.
    weight = (count * inner[picked] / inner.sum()).clamp(max=1.0).rsqrt()
    Z = x[half[picked]]
    K = kernel(Z).to_dense() * weight.unsqueeze(-1) * weight
    jitter = 1e-10 * K.diagonal().mean()
    root = torch.linalg.cholesky(K + (noise + jitter) * torch.eye(count, dtype=K.dtype))
    scores = []
    for part in rows.split(4096):
        cross = kernel(x[part], Z).to_dense() * weight
        white = torch.linalg.solve_triangular(root, cross.mT, upper=False)
        left = kernel(x[part], x[part], diag=True) - white.square().sum(dim=0)
        scores.append((left / noise).clamp(0.0, 1.0))
    return torch.cat(scores)
