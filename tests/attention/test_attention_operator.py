"""The attention operator: one fixed matrix, its adjoint exactly its transpose."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp import linalg
from kernelgp.attention import (
    AttentionOperator,
    FastmaxOptions,
    KDEOptions,
    ThinnedOptions,
    attention,
)
from kernelgp.errors import ArgumentError, ArgumentTypeError


def tokens(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


METHODS = {
    "exact": {},
    "kde": {"options": KDEOptions(8, 8, 2, 1, causal_leaf=32)},
    "thinned": {"options": ThinnedOptions(size=16, causal_leaf=32)},
    "fastmax": {"options": FastmaxOptions(1, chunk=16)},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_causal", [False, True])
@given(n=st.integers(1, 90), m=st.integers(1, 150), seed=st.integers(0, 20))
def test_the_adjoint_is_the_transpose_and_rows_sum_to_one(method, is_causal, n, m, seed):
    m = n if is_causal else m
    q, k = tokens(n, 4, seed=seed), tokens(m, 4, seed=seed + 1)
    A = AttentionOperator(q, k, method=method, is_causal=is_causal, **METHODS[method])
    v, g = tokens(m, 2, seed=seed), tokens(n, 2, seed=seed)
    torch.testing.assert_close((g * (A @ v)).sum(), ((A.mT @ g) * v).sum(), atol=1e-9, rtol=1e-9)
    rows = A @ torch.ones(m, dtype=torch.float64)
    torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_rows_entries_and_the_dense_matrix_agree(method):
    A = AttentionOperator(tokens(30, 4), tokens(30, 4, seed=1), method=method, **METHODS[method])
    dense = A.to_dense()
    torch.testing.assert_close(A @ torch.eye(30, dtype=torch.float64), dense)
    torch.testing.assert_close(A.mT.to_dense(), dense.mT)
    torch.testing.assert_close(A.rows(torch.tensor([3, 0])), dense[[3, 0]])
    torch.testing.assert_close(A[3:5, :10].to_dense(), dense[3:5, :10])
    torch.testing.assert_close(A[4, 7], dense[4, 7])
    torch.testing.assert_close(A.diagonal(), dense.diagonal())


def test_products_are_attention():
    q, k, v = (tokens(2, 3, 40, 8, seed=seed, dtype=torch.float32) for seed in range(3))
    A = AttentionOperator(q, k, is_causal=True)
    torch.testing.assert_close(A @ v, attention(q, k, v, is_causal=True))


def test_the_log_sum_exp_and_its_gradient():
    q, k = tokens(2, 5, 3).requires_grad_(), tokens(6, 3, seed=1).requires_grad_()

    def dense(q, k):
        return torch.logsumexp(0.7 * q @ k.mT, dim=-1)

    A = AttentionOperator(q, k, scale=0.7)
    torch.testing.assert_close(A.logsumexp(), dense(q, k))
    assert torch.autograd.gradcheck(lambda *x: AttentionOperator(*x, scale=0.7).logsumexp(), (q, k))
    assert torch.autograd.gradcheck(lambda *x: AttentionOperator(*x)[0, 2:4, 1], (q, k))
    thinned = AttentionOperator(q[0], k, method="thinned").logsumexp()
    torch.testing.assert_close(thinned, torch.logsumexp(q[0] @ k.mT / 3**0.5, dim=-1).detach())


@pytest.mark.parametrize("method", METHODS)
def test_gradients_through_a_product(method):
    q, k = tokens(6, 3).requires_grad_(), tokens(9, 3, seed=1).requires_grad_()
    v = tokens(9, 2, seed=2).requires_grad_()
    options = METHODS[method]
    if method == "thinned":
        options = {"options": ThinnedOptions(2)}
    blocks = AttentionOperator(q, k, method=method, **options).blocks

    def product(q, k, v):
        return AttentionOperator(q, k, method=method, blocks=blocks, **options) @ v

    assert torch.autograd.gradcheck(product, (q, k, v))


def test_blocks_are_kept_for_other_tokens():
    q, k = tokens(5, 3), tokens(64, 3, seed=1)
    options = ThinnedOptions(size=8)
    A = AttentionOperator(q, k, method="thinned", options=options)
    B = AttentionOperator(q, k.flip(0), method="thinned", options=options, blocks=A.blocks)
    assert torch.equal((A.to_dense() > 0)[0], (B.to_dense() > 0)[0])


def test_copies_are_the_same_matrix():
    A = AttentionOperator(tokens(9, 3), tokens(64, 3, seed=1), method="thinned", generator=3)
    for other in (A.clone(), A.detach(), pickle.loads(pickle.dumps(A)), A.float().double()):
        torch.testing.assert_close(other.to_dense(), A.to_dense(), atol=1e-6, rtol=0)


def test_algorithms_for_anything_that_multiplies_take_it():
    # Twice the identity plus a stochastic matrix is well conditioned, and not symmetric.
    A = AttentionOperator(tokens(50, 4), tokens(50, 4, seed=1)).add_diagonal(
        torch.tensor(2.0, dtype=torch.float64)
    )
    rhs = tokens(50, 2)
    solution, report = linalg.gmres(A, rhs, rtol=1e-10)
    assert report.converged
    torch.testing.assert_close(A.to_dense() @ solution, rhs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"q": torch.ones(3, 5)}, ArgumentError, r"k: got shape \(4, 2\); give \(\.\.\., 4, 5\)"),
        ({"q": torch.ones(0, 2)}, ArgumentError, r"q: got shape \(0, 2\); give at least one query"),
        ({"q": torch.ones(3, 2).half()}, ArgumentError, "q: got torch.float16; convert it"),
        ({"q": "q"}, ArgumentTypeError, "q: got str; give a torch tensor"),
        ({"method": "best"}, ArgumentError, "method: got 'best'; give one of"),
        ({"is_causal": True}, ArgumentError, "is_causal: got True with 3 queries and 4 keys"),
        ({"options": ThinnedOptions()}, ArgumentTypeError, "options: got ThinnedOptions with"),
        ({"blocks": []}, ArgumentTypeError, "blocks: got blocks with method='exact'; leave it"),
        (
            {"method": "thinned", "q": torch.ones(2, 3, 2)},
            ArgumentError,
            r"q: got shape \(2, 3\) with method='thinned'; give one head at a time",
        ),
        ({"k": torch.full((4, 2), torch.nan)}, ArgumentError, "k: got 8 of 8 entries not finite"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        AttentionOperator(**{"q": torch.ones(3, 2), "k": torch.ones(4, 2), **arguments})


def test_bad_right_hand_sides_are_named():
    A = AttentionOperator(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(3, 1\); give \(4,\) or \(\.\.\., 4"):
        A @ torch.ones(3, 1)
    with pytest.raises(
        ArgumentError, match=r"rhs: got torch\.float64; convert it to torch\.float32"
    ):
        A.mT @ torch.ones(3).double()
    with pytest.raises(ArgumentTypeError, match="rhs: got ndarray; give a torch tensor"):
        A @ np.ones(4)
    fastmax = AttentionOperator(torch.ones(3, 2), torch.ones(4, 2), method="fastmax")
    with pytest.raises(ArgumentError, match="method: got 'fastmax', which has no log-sum-exp"):
        fastmax.logsumexp()
