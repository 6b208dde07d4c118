"""Between torch's columns and the numpy vectors of scipy's iterative solvers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from kernelgp.linalg.protocol import Map

__all__ = ["each_column", "from_map"]

Vector = np.ndarray


def from_map(
    forward: Map, shape: tuple[int, int], device: torch.device, adjoint: Map | None = None
) -> LinearOperator:
    """A scipy operator over maps of float64 columns (n, 1) on a device."""

    def bridged(apply: Map) -> Callable[[Vector], Vector]:
        def on_vector(vector: Vector) -> Vector:
            column = torch.from_numpy(np.ascontiguousarray(vector).reshape(-1, 1)).to(device)
            return apply(column).squeeze(-1).cpu().numpy()

        return on_vector

    reverse = bridged(adjoint) if adjoint is not None else None
    make: Any = LinearOperator  # its __new__ picks a subclass that takes these arguments
    return make(shape, matvec=bridged(forward), rmatvec=reverse, dtype=np.float64)


def each_column(solve: Callable[[Vector], Vector], rhs: Tensor) -> Tensor:
    """Solve for each column of a float64 tensor (m, k) in turn, shape (n, k)."""
    solved = [torch.from_numpy(solve(column.cpu().numpy())) for column in rhs.mT]
    return torch.stack(solved, dim=-1).to(rhs.device)
