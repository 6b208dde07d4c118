"""The solution that ``method="map"`` finds: grid values, and the prior that joins them.

Between the points of the grid the mean is the prior's interpolant, ``k*ᵀ K⁻¹ U``. Given the
hyperparameters everything is linear and Gaussian, so the posterior of the whitened grid values
V has the precision ``P = I + τ1 λ Bᵀ B + τ2 Jᵀ J``, the Hessian of the density, and

    var u(x*) = k** - |m*|² + m*ᵀ P⁻¹ m*,   m* = R⁻¹ k*.

P couples all grid values, so deviations and samples are given for small grids only.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.kernels import SpectralMixture
from solvers.map_equation import AxisFactors, GridEquation, data_rows
from solvers.map_report import MapReport
from solvers.report import SolutionReport
from solvers.tensors import along_all, evaluate_at

__all__ = ["MapPosterior"]

Array = NDArray[np.float64]
Orders = tuple[int, ...]

# P for this many grid values takes seconds and 50 MB.
_DENSE = 2500
# Points at once: their covariances with an axis, one component at a time, stay below 10 MB.
_BATCH = 1000


class MapPosterior:
    """Mean, and on small grids deviation and samples, of a solution found by ``method="map"``.

    Parameters
    ----------
    equation : GridEquation
    kernels
        One for each axis, with the hyperparameters found.
    whitened : Tensor, shape (n1, ..., nd)
        V, with ``U = R1 V R2ᵀ``.
    log_precisions : Tensor, shape (2,)
    scale
        The size of the solution; everything else is in units of it.
    report : SolutionReport
    search : MapReport, optional
        Where the search ended; None in a posterior read from a file.
    """

    method: ClassVar[str] = "map"

    def __init__(
        self,
        equation: GridEquation,
        kernels: Sequence[SpectralMixture],
        whitened: Tensor,
        log_precisions: Tensor,
        scale: float,
        report: SolutionReport,
        search: MapReport | None = None,
    ) -> None:
        self.equation, self.kernels = equation, tuple(kernels)
        self.whitened, self.log_precisions = whitened, log_precisions
        self.scale, self.report, self.search = scale, report, search

    @property
    def has_deviation(self) -> bool:
        """Whether the grid is small enough for `std` and `sample`."""
        return self.whitened.numel() <= _DENSE

    def mean(self, points: Array, orders: Orders | None = None) -> Array:
        """The mean, or a derivative of it, at points of shape (m, d): shape (m,)."""
        batches = [
            evaluate_at(self._rows(batch.T, orders), self.whitened.numpy())
            for batch in _batches(points)
        ]
        return self.scale * np.concatenate([np.zeros(0), *batches])

    def mean_on_grid(self, axes: Sequence[Array], orders: Orders | None = None) -> Array:
        """The mean, or a derivative of it, on the product of the axes, shape (m1, ..., md)."""
        return self.scale * along_all(self._rows(axes, orders), self.whitened.numpy())

    def std(self, points: Array, orders: Orders | None = None) -> Array:
        """Posterior deviation given the hyperparameters, shape (m,); O(N²) a point.

        Raises
        ------
        ArgumentError
            If the grid is too large for the dense precision it takes.
        """
        triangle, variance = self._triangle, self._prior_variance(orders)
        batches = []
        for batch in _batches(points):
            m = _row_products(self._rows(batch.T, orders))
            spread = scipy.linalg.solve_triangular(triangle, m.T, trans=1)
            explained = np.sum(m**2, axis=1)
            batches.append(np.clip(variance - explained, 0, None) + np.sum(spread**2, axis=0))
        return self.scale * np.sqrt(np.concatenate([np.zeros(0), *batches]))

    def sample(self, points: Array, n_samples: int, generator: torch.Generator) -> Array:
        """Joint draws given the hyperparameters, shape (n_samples, m); O(m³).

        Raises
        ------
        ArgumentError
            If the grid is too large for the dense precision it takes.
        """
        triangle, m = self._triangle, _row_products(self._rows(points.T, None))
        prior = math.prod(
            kernel.derivative(x, x).detach().numpy()
            for kernel, x in zip(self.kernels, _columns(points.T), strict=True)
        )
        values, vectors = np.linalg.eigh(prior - m @ m.T)
        between = vectors * np.sqrt(np.clip(values, 0, None))
        drawn = [
            torch.randn(n_samples, n, generator=generator, dtype=torch.float64).numpy()
            for n in (len(points), m.shape[1])
        ]
        on_grid = scipy.linalg.solve_triangular(triangle, drawn[1].T).T
        return self.mean(points) + self.scale * (drawn[0] @ between.T + on_grid @ m.T)

    def arrays(self) -> dict[str, Array]:
        """What `from_arrays` needs, by name."""
        equation = self.equation
        arrays = {"whitened": self.whitened, "mask": equation.mask.double()}
        arrays["log_precisions"] = self.log_precisions
        for k, (kernel, x) in enumerate(zip(self.kernels, equation.axes, strict=True)):
            arrays[f"axis{k}"] = x
            for name in ("frequencies", "lengthscales", "weights"):
                arrays[f"{name}{k}"] = getattr(kernel, name)
        return {name: array.detach().cpu().numpy().copy() for name, array in arrays.items()}

    def meta(self) -> dict[str, Any]:
        """What `from_arrays` needs besides, in numbers and strings."""
        kernel = self.kernels[0]
        return {
            "method": self.method,
            "envelope": kernel.envelope,
            "nu": kernel.nu,
            "scale": self.scale,
            "terms": [[list(orders), c] for orders, c in self.equation.terms],
            "report": self.report.to_json(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Self:
        """The posterior that `arrays` and `meta` were taken from."""
        tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
        axes = tuple(tensors[f"axis{k}"] for k in range(tensors["whitened"].dim()))
        kernels = [
            SpectralMixture(
                meta["envelope"],
                tensors[f"frequencies{k}"],
                tensors[f"lengthscales{k}"],
                tensors[f"weights{k}"],
                meta["nu"],
            )
            for k in range(len(axes))
        ]
        terms = tuple((tuple(orders), float(c)) for orders, c in meta["terms"])
        # Neither source nor values are needed any more: they are in the whitened values.
        nothing = torch.zeros_like(tensors["whitened"])
        equation = GridEquation(axes, terms, nothing, tensors["mask"] > 0, nothing)
        whitened, precisions = tensors["whitened"], tensors["log_precisions"]
        report = SolutionReport.from_json(meta["report"])
        return cls(equation, kernels, whitened, precisions, float(meta["scale"]), report)

    @cached_property
    def _factors(self) -> list[AxisFactors]:
        with torch.no_grad():
            return self.equation.factors(self.kernels)

    @cached_property
    def _triangle(self) -> Array:
        """R with ``Rᵀ R = P``: by QR, since P has the square of the condition number."""
        n = self.whitened.numel()
        if n > _DENSE:
            given = f"'map' with a deviation over {n} grid values"
            remedy = f"use method='direct', or a grid of at most {_DENSE} points"
            raise ArgumentError("method", given, remedy)
        rows = data_rows(self.equation, self._factors, self.log_precisions)
        stacked = torch.cat([rows, torch.eye(n, dtype=rows.dtype)]).numpy()
        return np.linalg.qr(stacked).R

    def _rows(self, coordinates: Sequence[Array] | Array, orders: Orders | None) -> list[Array]:
        """``K*⁽ᵃ⁾ R⁻ᵀ`` of each axis, for the coordinates along it."""
        orders = orders or (0,) * len(self.kernels)
        rows = []
        for kernel, x, grid, factor, order in zip(
            self.kernels, _columns(coordinates), self.equation.axes, self._factors, orders,
            strict=True,
        ):  # fmt: skip
            cross = kernel.derivative(x, grid.unsqueeze(-1), (order,), (0,)).detach()
            white = torch.linalg.solve_triangular(factor.root, cross.mT, upper=False)
            rows.append(white.mT.numpy())
        return rows

    def _prior_variance(self, orders: Orders | None) -> float:
        orders, origin = orders or (0,) * len(self.kernels), torch.zeros(1, dtype=torch.float64)
        return math.prod(
            (-1) ** order * kernel.derivative_lags(origin, 2 * order).item()
            for kernel, order in zip(self.kernels, orders, strict=True)
        )


def _columns(coordinates: Sequence[Array] | Array) -> list[Tensor]:
    return [torch.as_tensor(np.array(x, dtype=float)).unsqueeze(-1) for x in coordinates]


def _batches(points: Array) -> list[Array]:
    return [points[i : i + _BATCH] for i in range(0, len(points), _BATCH)]


def _row_products(rows: Sequence[Array]) -> Array:
    """Row by row the outer product of all axes, flattened: shape (m, N)."""
    product = rows[0]
    for row in rows[1:]:
        product = (product[:, :, None] * row[:, None, :]).reshape(len(row), -1)
    return product
