"""Log-determinants against dense float64, and standard errors against the errors made."""

import pytest
import torch
from linear_operator.operators import DenseLinearOperator

from kernelgp.errors import (
    ArgumentError,
    ConvergenceWarning,
    JitterWarning,
    NotPositiveDefiniteError,
)
from kernelgp.linalg import logdet


def exact(A):
    return torch.logdet(A.double().rows(torch.arange(A.shape[-1])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_matrices_are_exact(noisy_rbf, dtype):
    A = noisy_rbf(200, dtype=dtype)
    value, error = logdet(A)
    torch.testing.assert_close(value, exact(A), rtol=1e-12, atol=0)
    assert error == 0


@pytest.mark.parametrize("rank", [0, 50, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_estimate_is_within_four_standard_errors(noisy_rbf, dtype, rank):
    A = noisy_rbf(500, dtype=dtype)
    value, error = logdet(A, method="slq", rank=rank, max_iterations=1000)
    assert abs(value - exact(A)) < 4 * error
    assert error < 0.05 * abs(exact(A))


def test_preconditioner_reduces_the_error(noisy_rbf):
    A = noisy_rbf(500)
    _, plain = logdet(A, method="slq", rank=0)
    _, better = logdet(A, method="slq", rank=200)
    assert better < plain / 10


def test_standard_error_is_neither_too_small_nor_too_large(noisy_rbf):
    A = noisy_rbf(100)
    runs = [logdet(A, method="slq", rank=10, random_state=seed) for seed in range(40)]
    scores = torch.stack([(value - exact(A)) / error for value, error in runs])
    # 40 draws of a Student-t with 15 degrees of freedom: rms 1.07 give or take 0.13.
    assert 0.6 < scores.square().mean().sqrt() < 1.6
    assert abs(scores.mean()) < 4 / 40**0.5


def test_negative_determinants_keep_their_sign(noisy_rbf):
    A = noisy_rbf(400, d=1, noise=0.01)
    value, error = logdet(A, method="slq")
    assert value < 0
    assert abs(value - exact(A)) < 4 * error + 1e-6 * 400


def test_the_same_seed_gives_the_same_value(noisy_rbf):
    A = noisy_rbf(200)
    first, second, other = (logdet(A, method="slq", random_state=s)[0] for s in (1, 1, 2))
    assert first == second != other


def test_batches_have_their_own_values_and_errors(spd, generator):
    matrix = torch.stack([spd(80, condition=c, generator=generator) for c in (5.0, 100.0)])
    truth = torch.logdet(matrix)
    value, error = logdet(DenseLinearOperator(matrix))
    torch.testing.assert_close(value, truth)
    value, error = logdet(DenseLinearOperator(matrix), method="slq", n_probes=40)
    assert value.shape == error.shape == (2,)
    assert ((value - truth).abs() < 4 * error).all()


def test_an_operator_with_a_closed_form_uses_it(noisy_rbf):
    A = noisy_rbf(10)
    A.direct_logdet = lambda: torch.tensor(42.0, dtype=torch.float64)
    assert logdet(A) == (42.0, 0.0)


def test_singular_matrix_is_told():
    with pytest.warns(JitterWarning, match="determinant is that of the sum") as caught:
        logdet(torch.ones(3, 3, dtype=torch.float64))
    assert caught[0].filename == __file__


def test_an_early_end_is_told(noisy_rbf):
    with pytest.warns(ConvergenceWarning, match="slq: residual .* after 2 iterations") as caught:
        logdet(noisy_rbf(300), method="slq", rank=5, max_iterations=2)
    assert caught[0].filename == __file__


def test_indefinite_matrix_is_refused(spd, generator):
    matrix = spd(60, condition=10.0, generator=generator) - 3 * torch.eye(60)
    with pytest.raises(NotPositiveDefiniteError, match="op: got"):
        logdet(matrix.diagonal().diag_embed().abs() - 3 * torch.eye(60), method="slq", rank=0)
    with pytest.raises(NotPositiveDefiniteError, match="op: got"):
        logdet(matrix, method="slq", rank=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"op": torch.ones(3, 4)}, r"op: got shape \(3, 4\); give a square one"),
        ({"method": "lu"}, "method: got 'lu'; give"),
        ({"n_probes": 1}, "n_probes: got 1; give at least 2"),
        ({"random_state": "a"}, "random_state: got 'a'; give an int"),
        ({"op": torch.randn(9, 9), "method": "slq"}, "op: got an operator with"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        logdet(**({"op": torch.eye(3)} | arguments))
