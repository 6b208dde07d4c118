"""Randomised Nyström: exact at full rank, useful below it."""

import pytest
import torch
from linear_operator.operators import DenseLinearOperator

from kernelgp.errors import ArgumentError
from kernelgp.linalg import nystrom, pcg


def test_full_rank_is_the_matrix_itself(spd, generator):
    matrix = spd(3, 20, condition=1e3, generator=generator)
    v = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    P = nystrom(DenseLinearOperator(matrix), 50)
    assert P.rank == 20
    torch.testing.assert_close(P(matrix @ v), v.expand(3, 20, 2), rtol=1e-8, atol=1e-8)


def test_noise_is_kept_and_cg_gets_short(noisy_rbf, generator):
    A = noisy_rbf(500, noise=0.01, dtype=torch.float32)
    b = torch.randn(500, 1, generator=generator)
    P = nystrom(A, 250)
    torch.testing.assert_close(P.noise, A.noise.double().expand(500))
    _, report = pcg(A, b, preconditioner=P)
    assert report.converged
    assert report.iterations <= 15
    assert report.preconditioner_rank == 250


def test_a_matrix_of_low_rank_gives_no_negative_eigenvalue(generator):
    root = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    P = nystrom(root @ root.mT, 10)
    assert (P.noise > 0).all()
    torch.testing.assert_close(P.factor @ P.factor.mT, root @ root.mT, rtol=1e-8, atol=1e-8)


def test_bad_rank_is_named():
    with pytest.raises(ArgumentError, match="rank: got -1; give a positive"):
        nystrom(torch.eye(3), -1)
