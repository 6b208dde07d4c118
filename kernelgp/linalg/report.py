"""What a solve leaves behind besides its solution."""

from dataclasses import dataclass, replace

from torch import Tensor

__all__ = ["SolveReport"]


@dataclass(frozen=True, slots=True, eq=False)
class SolveReport:
    """What a solve did and how well: figures as fields, the verdict computed from them.

    Attributes
    ----------
    method
        "direct", "cholesky", "pcg", "gmres" or "lsmr".
    iterations
        Products with the operator, or corrections of a direct solve; measuring the
        residual is not counted.
    residual : Tensor, shape (..., k) or (...) for a single vector, float64
        True relative residual ``|b - A x| / |b|`` of every column of the solution as
        returned, computed in float64; 0 where ``b`` is 0.
        For least squares, ``|Aᵀ(b - A x)| / |Aᵀ b|``.
    rtol
        What was asked of it.
    seconds
        Wall time, the preconditioner's included.
    preconditioner_rank
        Columns of the low-rank preconditioner; 0 without one.
    jitter
        What was added to the diagonal to factorise it, in the matrix's own units.

    Examples
    --------
    >>> import torch
    >>> report = SolveReport("pcg", 12, torch.tensor([2e-7, 5e-7]), 1e-6, 0.25, 100)
    >>> report.converged
    True
    >>> print(report)
    pcg: worst residual 5.0e-07 (asked: 1.0e-06) after 12 iterations, 0.25 s, rank 100
    """

    method: str
    iterations: int
    residual: Tensor
    rtol: float
    seconds: float
    preconditioner_rank: int = 0
    jitter: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether every column met `rtol`."""
        return bool((self.residual <= self.rtol).all())

    def __str__(self) -> str:
        text = (
            f"{self.method}: worst residual {self.residual.max().item():.1e} "
            f"(asked: {self.rtol:.1e}) after {self.iterations} iterations, {self.seconds:.2f} s"
        )
        if self.preconditioner_rank:
            text += f", rank {self.preconditioner_rank}"
        if self.jitter:
            text += f", jitter {self.jitter:.1e}"
        return text


def like_rhs(rhs: Tensor, solution: Tensor, report: SolveReport) -> tuple[Tensor, SolveReport]:
    """A pair of (..., n, k) and its report, squeezed where the right-hand side was a vector."""
    if rhs.dim() > 1:
        return solution, report
    return solution.squeeze(-1), replace(report, residual=report.residual.squeeze(-1))
