"""`logdet`: exact where that is affordable, else an estimate that says how good it is."""

import warnings
from typing import Any, Literal, cast

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError, ConvergenceWarning
from kernelgp.linalg.cholesky import entries, factorise, fits
from kernelgp.linalg.lanczos_quadrature import log_quadrature, probe_columns, sweep_columns
from kernelgp.linalg.preconditioner import automatic_preconditioner
from kernelgp.linalg.probes import draw_seed
from kernelgp.linalg.protocol import as_square, check_symmetric, in_double
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["logdet"]


@torch.no_grad()
def logdet(
    op: Any,
    *,
    method: Literal["auto", "cholesky", "slq"] = "auto",
    n_probes: int = 16,
    rank: int | None = None,
    rtol: float = 1e-4,
    max_iterations: int = 200,
    random_state: RandomState = 0,
) -> tuple[Tensor, Tensor]:
    """``log|A|`` of a symmetric positive definite operator, and its standard error.

    Parameters
    ----------
    op : Matrix, LinearOperator or Tensor, shape (..., n, n)
    method
        "auto" takes the operator's own ``direct_logdet`` where it has one, Cholesky in
        float64 as far as `solve` does, and beyond that "slq": stochastic Lanczos quadrature
        with the preconditioner of `solve`.
    n_probes
        Random vectors of "slq", at least 2; the error falls with their square root.
    rank
        Of the preconditioner; 0 for none, None for the automatic rule.
    rtol
        Residual at which the Lanczos recurrence of "slq" ends; what that leaves out of the
        quadrature is of the order of its square.
    max_iterations
        Bound on the products of "slq".
    random_state : int, numpy Generator or RandomState, torch Generator, or None
        An int gives the same probes again, whatever the number of processes.

    Returns
    -------
    value, standard_error : Tensor, shape (...), float64, without a graph
        The error is 0 where the value is exact.

    Raises
    ------
    ArgumentError
        If `op` is not square or not symmetric.
    NotPositiveDefiniteError
        If it is not positive definite, jitter included.

    Warns
    -----
    JitterWarning
        If Cholesky needed jitter, of which the value then depends.
    ConvergenceWarning
        If a probe has not reached `rtol`.

    Examples
    --------
    >>> value, error = logdet(torch.diag(torch.tensor([2.0, 3.0])))
    >>> value, error
    (tensor(1.7918, dtype=torch.float64), tensor(0., dtype=torch.float64))
    """
    matrix = as_square("op", op)
    if method not in ("auto", "cholesky", "slq"):
        raise ArgumentError("method", repr(method), 'give "auto", "cholesky" or "slq"')
    if n_probes < 2:
        raise ArgumentError("n_probes", str(n_probes), "give at least 2")
    check_positive("rtol", rtol)
    check_positive("max_iterations", max_iterations)
    generator = as_generator(random_state)
    if method == "auto" and hasattr(matrix, "direct_logdet"):
        value = cast(Any, in_double(matrix)).direct_logdet()
        return value, torch.zeros_like(value)
    if method == "cholesky" or (method == "auto" and fits(matrix)):
        factor = factorise(entries(matrix), matrix.dtype)
        factor.warn(", and the determinant is that of the sum", stacklevel=3)
        value = factor.logdet()
        return value, torch.zeros_like(value)

    check_symmetric(matrix)
    preconditioner = automatic_preconditioner(matrix, rank, generator)
    probes = probe_columns(matrix, preconditioner, n_probes, draw_seed(generator))
    probes = probes / probes.norm(dim=-2, keepdim=True)
    swept = sweep_columns(matrix, probes, preconditioner, rtol, max_iterations)
    if swept.residual > rtol:
        given = f"slq: residual {swept.residual:.1e} (asked: {rtol:.1e})"
        remedy = f"after {swept.iterations} iterations; raise rank or max_iterations"
        warnings.warn(f"{given} {remedy}.", ConvergenceWarning, stacklevel=3)
    return log_quadrature(swept.tridiagonals(), matrix.shape[-1], preconditioner)
