"""The exact kernel of a graph's nodes as a lazy operator: sparse products, CG or a factor."""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
import torch
from linear_operator import LinearOperator
from numpy.typing import NDArray
from scipy.sparse.linalg import splu
from torch import Tensor
from typing_extensions import override

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.features.graph.adjacency import read_graph
from kernelgp.features.graph.modulation import KERNELS, spectral_function
from kernelgp.validation import check_positive

__all__ = ["GraphKernelOperator"]

_METHODS = ("chebyshev", "cg", "cholesky")
_RTOL = 1e-12
# Columns of the identity multiplied at once for entries.
_CHUNK = 256


class GraphKernelOperator(LinearOperator):
    """K of `GraphFeatures`, exact to some twelve digits; on the CPU, in float64 inside.

    Made by `from_graph`. A product costs

    - "chebyshev": one polynomial of ``W = D^-1/2 A D^-1/2``, whose degree grows with the root of
      σ² and not with n; every kernel, every power;
    - "cg": `power` solves with ``I + σ² L`` by conjugate gradients, which stop earlier where
      the graph allows it; whole powers of the regularised Laplacian;
    - "cholesky": the same by a sparse factor, made once. Best on grids, meshes and trees, whose
      factors stay sparse; random graphs of 10 000 nodes fill in to tens of millions of entries.

    Parameters
    ----------
    normalized : Tensor, shape (n, n)
        W, sparse (COO or CSR).

    Examples
    --------
    >>> path = scipy.sparse.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(4, 4))
    >>> K = GraphKernelOperator.from_graph(path, "diffusion", sigma2=2.0)
    >>> K @ torch.ones(4, dtype=torch.float64)
    tensor([0.8483, 1.1073, 1.1073, 0.8483], dtype=torch.float64)
    """

    def __init__(
        self,
        normalized: Tensor,
        kernel: str = "regularized_laplacian",
        power: float = 1.0,
        sigma2: float = 0.25,
        method: str = "chebyshev",
    ) -> None:
        super().__init__(normalized, kernel=kernel, power=power, sigma2=sigma2, method=method)
        self.normalized = normalized
        self.kernel, self.power, self.sigma2 = kernel, power, sigma2
        self.method = method

    @classmethod
    def from_graph(
        cls,
        adjacency: Any,
        kernel: str = "regularized_laplacian",
        *,
        power: float = 1,
        sigma2: float = 0.25,
        method: str = "chebyshev",
    ) -> "GraphKernelOperator":
        """The kernel of a graph.

        Parameters
        ----------
        adjacency : scipy sparse array or dense array, shape (n, n)
        kernel : {"regularized_laplacian", "diffusion", "inverse_cosine"}
        power, sigma2
            As for `GraphFeatures`.
        method : {"chebyshev", "cg", "cholesky"}

        Raises
        ------
        ArgumentError
            If the graph or an argument cannot be used, or the method is not for this kernel.
        """
        graph = read_graph(adjacency)
        if kernel not in KERNELS:
            raise ArgumentError("kernel", repr(kernel), f"give one of {', '.join(KERNELS)}")
        if method not in _METHODS:
            raise ArgumentError("method", repr(method), f"give one of {', '.join(_METHODS)}")
        check_positive("power", power)
        check_positive("sigma2", sigma2, zero=True)
        whole = float(power).is_integer() and kernel == "regularized_laplacian"
        if method != "chebyshev" and not whole:
            given = f"{method!r} for the kernel {kernel!r} of power {power}"
            remedy = 'give "chebyshev": the others solve for whole powers of the Laplacian'
            raise ArgumentError("method", given, remedy)
        coo = graph.normalized.tocoo()
        index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
        values = torch.from_numpy(coo.data.astype(graph.dtype))
        shape = (graph.n, graph.n)
        W = torch.sparse_coo_tensor(index, values, shape, is_coalesced=True, check_invariants=False)
        return cls(W, kernel, float(power), float(sigma2), method)

    def _size(self) -> torch.Size:
        return self.normalized.shape

    def _transpose_nonbatch(self) -> "GraphKernelOperator":
        return self

    @override
    def _matmul(self, rhs: Tensor) -> Tensor:
        columns = rhs.unsqueeze(-1) if rhs.dim() == 1 else rhs
        # What batch there is, as further columns.
        flat = columns.movedim(-2, 0)
        x = flat.reshape(len(flat), -1).detach().cpu().double().numpy()
        product = torch.from_numpy(self._product(x)).to(rhs)
        out = product.reshape(flat.shape).movedim(0, -2)
        return out.squeeze(-1) if rhs.dim() == 1 else out

    @override
    def _bilinear_derivative(
        self, left_vecs: Tensor, right_vecs: Tensor
    ) -> tuple[Tensor | None, ...]:
        return (None,)  # a graph is given, not learned

    def _expand_batch(self, batch_shape: Sequence[int]) -> LinearOperator:
        return self.repeat(*batch_shape, 1, 1)

    def _diagonal(self) -> Tensor:
        parts = torch.arange(self.shape[-1]).split(_CHUNK)
        return torch.cat([self._columns(part)[part].diagonal() for part in parts])

    @override
    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        needed, where = torch.unique(col_index, return_inverse=True)
        columns = torch.cat([self._columns(part) for part in needed.split(_CHUNK)], dim=-1)
        return columns[row_index, where]

    def rows(self, index: Tensor) -> Tensor:
        """Rows, shape (len(index), n)."""
        return self._columns(index).mT

    def _columns(self, index: Tensor) -> Tensor:
        units = torch.zeros(self.shape[-1], len(index), dtype=self.dtype, device=self.device)
        units[index, torch.arange(len(index))] = 1
        return self._matmul(units)

    def _product(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.method == "chebyshev":
            return _apply_polynomial(self._coefficients, self._sparse, x)
        for _ in range(int(self.power)):
            x = self._factor.solve(x) if self.method == "cholesky" else self._conjugate(x)
        return x

    @cached_property
    def _sparse(self) -> scipy.sparse.csr_array:
        W = self.normalized.detach().cpu().coalesce()
        parts = W.values().double().numpy(), W.indices().numpy()
        return scipy.sparse.csr_array(parts, shape=tuple(W.shape))

    @cached_property
    def _system(self) -> scipy.sparse.csr_array:
        """``I + σ² L``."""
        return scipy.sparse.csr_array(
            (1 + self.sigma2) * scipy.sparse.eye_array(self.shape[-1]) - self.sigma2 * self._sparse
        )

    @cached_property
    def _factor(self) -> Any:
        # Symmetric mode without pivoting: the factor of a positive definite matrix is Cholesky's.
        return splu(
            scipy.sparse.csc_array(self._system),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        return _chebyshev(self.kernel, self.power, self.sigma2)

    def _conjugate(self, rhs: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(I + σ² L)⁻¹ rhs``, all columns at once."""
        x, r = np.zeros_like(rhs), rhs.copy()
        p, rho = r.copy(), (r * r).sum(axis=0)
        goal = _RTOL**2 * rho
        limit = 10 + 4 * math.ceil(math.sqrt(1 + 2 * self.sigma2) * math.log(2 / _RTOL))
        for _ in range(limit):
            if (rho <= goal).all():
                return x
            product = self._system @ p
            alpha = rho / np.maximum((p * product).sum(axis=0), np.finfo(float).tiny)
            x += alpha * p
            r -= alpha * product
            rho, before = (r * r).sum(axis=0), rho
            p = r + rho / np.maximum(before, np.finfo(float).tiny) * p
        worst = math.sqrt(float((rho / np.maximum(goal, np.finfo(float).tiny)).max())) * _RTOL
        warnings.warn(
            f"cg: worst residual {worst:.1e} (asked: {_RTOL:.0e}) after {limit} iterations; "
            'use method="cholesky".',
            ConvergenceWarning,
            stacklevel=4,
        )
        return x


def _chebyshev(kernel: str, power: float, sigma2: float) -> NDArray[np.float64]:
    """Coefficients of the kernel's function on [-1, 1], to where they are rounding."""
    function = spectral_function(kernel, power, sigma2)
    count = 32
    while True:
        angles = math.pi * (np.arange(count) + 0.5) / count
        values = function(np.cos(angles))
        coefficients = np.asarray(scipy.fft.dct(values, type=2)) / count
        coefficients[0] /= 2
        size = np.abs(coefficients)
        if size[count // 2 :].max() <= 1e-15 * size.max() or count >= 2**17:
            kept = np.flatnonzero(size > 1e-16 * size.max())
            return coefficients[: kept[-1] + 1]
        count *= 2


def _apply_polynomial(
    coefficients: NDArray[np.float64], W: scipy.sparse.csr_array, x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``Σ_k c_k T_k(W) x`` by Clenshaw's recurrence."""
    after, last = np.zeros_like(x), np.zeros_like(x)
    for c in coefficients[:0:-1]:
        after, last = c * x + 2 * (W @ after) - last, after
    return coefficients[0] * x + W @ after - last
