"""XTrace: the trace of a matrix that is only known by its products, with a standard error.

References
----------
E. N. Epperly, J. A. Tropp and R. J. Webber, *XTrace: making the most of every sample in
stochastic trace estimation*, SIAM J. Matrix Anal. Appl. 2024, section 2.
"""

from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.linalg.probes import draw_seed, row_normals
from kernelgp.linalg.protocol import as_square, dense, in_double
from kernelgp.random import RandomState, as_generator

__all__ = ["xtrace"]


@torch.no_grad()
def xtrace(
    op: Any, n_products: int = 40, *, random_state: RandomState = 0
) -> tuple[Tensor, Tensor]:
    """Unbiased estimate of ``tr A``; exact where `n_products` is n or more.

    Half the products span the range of A, on which the trace is exact; each of the others'
    probes is used on what all but itself left out.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n), not necessarily symmetric
    n_products
        Columns multiplied with `op`, in float64; at least 4, rounded down to an even number.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Returns
    -------
    value, standard_error : Tensor, shape (...), float64

    Examples
    --------
    >>> A = torch.diag(torch.linspace(0, 1, 400, dtype=torch.float64) ** 20)
    >>> value, error = xtrace(A, 120)
    >>> bool(abs(value - A.trace()) < 4 * error < 0.2)
    True
    """
    matrix = as_square("op", op)
    if n_products < 4:
        raise ArgumentError("n_products", str(n_products), "give at least 4")
    exact, n, m = in_double(matrix), matrix.shape[-1], n_products // 2
    if n_products >= n:
        value = dense(exact).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        return value, torch.zeros_like(value)

    index = torch.arange(n, device=matrix.device)
    probes = row_normals(index, m, draw_seed(as_generator(random_state)))
    probes = n**0.5 * probes / probes.norm(dim=-2, keepdim=True)
    q, r = torch.linalg.qr(exact.matmul(probes))
    z = exact.matmul(q)
    h, w = q.mT @ z, q.mT @ probes
    s = _left_out(r)
    # Column i of everything below belongs to the estimate without probe i, whose basis is
    # Q (I - sᵢ sᵢᵀ); `inside` holds that basis' coordinates of the probe.
    inside = w - s * _dots(s, w).unsqueeze(-2)
    trace_inside = h.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True) - _dots(s, h @ s)
    quadratic = _dots(w - inside, r) - _dots(z.mT @ probes, inside) + _dots(inside, h @ inside)
    # The probe's part outside has a random direction but a known length: scale by it.
    length = n - inside.square().sum(dim=-2)
    estimates = trace_inside + quadratic * ((n - m + 1) / length)
    return estimates.mean(dim=-1), estimates.std(dim=-1) / m**0.5


def _left_out(r: Tensor) -> Tensor:
    """Unit vectors s with ``sᵢ ⟂ rⱼ`` for all j other than i: columns of R⁻ᵀ, normalised."""
    size = r.diagonal(dim1=-2, dim2=-1).abs().amax(dim=-1)[..., None, None]
    floor = torch.finfo(r.dtype).eps * size.where(size > 0, 1.0)
    eye = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
    # A matrix of low rank leaves zeros on the diagonal; they need only not be divided by.
    r = r + eye * torch.where(r.abs() < floor, floor, 0.0)
    inverse = torch.linalg.solve_triangular(r, eye.expand_as(r), upper=True).mT
    return inverse / inverse.norm(dim=-2, keepdim=True)


def _dots(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(dim=-2)
