"""Dense Cholesky: the factor, the ladder of jitter, and what it says about it."""

import pytest
import torch
from linear_operator.operators import DenseLinearOperator

from kernelgp.errors import ArgumentError, JitterWarning, NotPositiveDefiniteError
from kernelgp.linalg import cholesky, solve


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factor_reproduces_the_matrix_without_jitter(spd, dtype, generator):
    matrix = spd(2, 10, condition=1e4, generator=generator, dtype=dtype)
    found = cholesky(DenseLinearOperator(matrix))
    assert found.jitter == 0.0
    assert found.smallest_eigenvalue is None
    torch.testing.assert_close(found.factor @ found.factor.mT, matrix.double())
    torch.testing.assert_close(found.logdet(), torch.logdet(matrix.double()))


def test_singular_kernel_tells_its_jitter_and_smallest_eigenvalue():
    x = torch.linspace(0, 1, 40, dtype=torch.float64)
    matrix = torch.exp(-((x[:, None] - x) ** 2))
    with pytest.warns(JitterWarning, match=r"op is singular .*jitter 1\.0e-\d+ was") as caught:
        found = cholesky(matrix)
    assert caught[0].filename == __file__
    assert 0 < found.jitter <= 1e-10
    assert found.smallest_eigenvalue is not None
    truth = torch.linalg.eigvalsh(matrix).min()
    assert abs(found.smallest_eigenvalue - truth) < 1e-14
    torch.testing.assert_close(
        found.factor @ found.factor.mT, matrix + found.jitter * torch.eye(40), rtol=0, atol=1e-14
    )


def test_jitter_is_in_the_units_of_the_matrix():
    singular = torch.ones(3, 3, dtype=torch.float64)
    with pytest.warns(JitterWarning):
        small = cholesky(singular).jitter
    with pytest.warns(JitterWarning):
        large = cholesky(1e6 * singular).jitter
    assert large == pytest.approx(1e6 * small)


def test_only_the_singular_element_of_a_batch_gets_jitter():
    batch = torch.stack([torch.ones(3, 3), torch.eye(3)]).double()
    with pytest.warns(JitterWarning):
        factor = cholesky(batch).factor
    assert torch.equal(factor[1], torch.eye(3, dtype=torch.float64))


def test_duplicate_points_in_a_solve_are_told_and_solved_where_they_can_be():
    x = torch.tensor([0.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    matrix = torch.exp(-((x[:, None] - x) ** 2))
    b = matrix @ torch.ones(4, dtype=torch.float64)  # in the range of the matrix
    with pytest.warns(JitterWarning, match=r"jitter .*\(cholesky: worst residual") as caught:
        solution, report = solve(matrix, b)
    assert caught[0].filename == __file__
    assert report.jitter > 0
    assert report.converged
    assert (matrix @ solution - b).norm() <= 1e-6 * b.norm()


def test_a_system_without_solution_is_no_convergence():
    matrix = torch.ones(2, 2, dtype=torch.float64)
    with pytest.warns(JitterWarning):
        _, report = solve(matrix, torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert not report.converged


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_indefinite_matrix_is_refused_above_the_ladder(dtype):
    matrix = torch.diag(torch.tensor([1.0, -0.1, 1.0], dtype=dtype))
    with pytest.raises(NotPositiveDefiniteError, match=r"op: got a matrix that is not .*order 2"):
        cholesky(matrix)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (torch.ones(2, 3), r"op: got shape \(2, 3\); give a square one, or use linalg.lsmr"),
        (torch.ones(0, 0), r"op: got shape \(0, 0\); give a square one"),
        (torch.ones(3), r"op: got shape \(3,\); give a matrix"),
        (torch.tensor([[1.0, 1.0], [0.0, 1.0]]), r"op: .*\|A - Aᵀ\| up to 1\.0e\+00.*gmres"),
        (
            DenseLinearOperator(torch.tensor([[1.0, torch.inf], [torch.inf, 1.0]])),
            "op: got 2 of 4 entries not finite",
        ),
    ],
)
def test_bad_matrix_is_named(op, message):
    with pytest.raises(ArgumentError, match=message):
        cholesky(op)
