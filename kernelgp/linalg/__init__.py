"""Solves, log-determinants, traces and samples for anything that multiplies."""

from kernelgp.linalg.cg import pcg
from kernelgp.linalg.cholesky import CholeskyFactor, cholesky
from kernelgp.linalg.gmres import gmres
from kernelgp.linalg.inv_quad_logdet import InvQuadLogdet, inv_quad_logdet
from kernelgp.linalg.logdet import logdet
from kernelgp.linalg.lsmr import lsmr
from kernelgp.linalg.nystrom import nystrom
from kernelgp.linalg.pivoted_cholesky import LowRank, pivoted_cholesky
from kernelgp.linalg.preconditioner import (
    LowRankPreconditioner,
    pivoted_cholesky_preconditioner,
)
from kernelgp.linalg.protocol import Direct, Map, Matrix, Preconditioned, Shifted
from kernelgp.linalg.report import SolveReport
from kernelgp.linalg.sampling import sample
from kernelgp.linalg.solve import solve
from kernelgp.linalg.xtrace import xtrace

__all__ = [
    "CholeskyFactor",
    "Direct",
    "InvQuadLogdet",
    "LowRank",
    "LowRankPreconditioner",
    "Map",
    "Matrix",
    "Preconditioned",
    "Shifted",
    "SolveReport",
    "cholesky",
    "gmres",
    "inv_quad_logdet",
    "logdet",
    "lsmr",
    "nystrom",
    "pcg",
    "pivoted_cholesky",
    "pivoted_cholesky_preconditioner",
    "sample",
    "solve",
    "xtrace",
]
