"""Randomly pivoted Cholesky against what any low-rank factor can reach."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_operator.operators import DenseLinearOperator

from kernelgp.errors import ArgumentError
from kernelgp.linalg import pivoted_cholesky


def left(matrix, low_rank):
    return matrix - low_rank.factor @ low_rank.factor.mT


@given(n=st.integers(1, 40), r=st.integers(1, 10), rank=st.integers(1, 40), seed=st.integers(0, 99))
def test_what_is_left_is_positive_semidefinite_and_told(n, r, rank, seed):
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, r, generator=g, dtype=torch.float64)
    matrix = root @ root.mT
    low_rank = pivoted_cholesky(matrix, rank, generator=seed)
    assert low_rank.rank <= min(rank, r, n)
    rounding = 1e-10 * matrix.trace()
    remainder = left(matrix, low_rank)
    assert torch.linalg.eigvalsh(remainder).min() >= -rounding
    assert abs(remainder.trace() - low_rank.trace_left) <= rounding
    assert remainder[low_rank.pivots].abs().sum() <= rounding
    if rank >= r:
        assert remainder.abs().max() <= rounding


def test_pivots_are_never_repeated(noisy_rbf):
    pivots = pivoted_cholesky(noisy_rbf(500).base, 300).pivots
    assert len(pivots.unique()) == len(pivots) == 300


def test_trace_left_is_near_the_best_there_is(noisy_rbf):
    base = noisy_rbf(1000).base
    best = torch.linalg.eigvalsh(base.rows(torch.arange(1000)))[:-300].sum()
    # Measured 4.9; uniform Nyström gives 20 and more, so does a wrong acceptance rule.
    assert pivoted_cholesky(base, 300).trace_left < 7 * best


def test_many_copies_of_one_point_do_not_hide_the_others(generator):
    x = torch.cat([torch.zeros(900), torch.linspace(1, 2, 100)]).double()
    matrix = torch.exp(-((x[:, None] - x) ** 2) / (2 * 0.05**2))
    assert pivoted_cholesky(matrix, 40).trace_left < 1e-3


def test_growth_stops_at_the_trace_asked_for(noisy_rbf):
    base = noisy_rbf(1000).base
    low_rank = pivoted_cholesky(base, 1000, trace_goal=10.0)
    assert low_rank.trace_left <= 10.0
    assert low_rank.rank < 500


def test_the_same_seed_gives_the_same_factor(noisy_rbf):
    base = noisy_rbf(200).base
    first, second, other = (pivoted_cholesky(base, 20, generator=seed) for seed in (1, 1, 2))
    assert torch.equal(first.factor, second.factor)
    assert not torch.equal(first.pivots, other.pivots)


def test_float32_operator_gives_a_float64_factor(noisy_rbf):
    base = noisy_rbf(300, dtype=torch.float32).base
    low_rank = pivoted_cholesky(base, 250)
    assert low_rank.factor.dtype == torch.float64
    matrix = base.double().rows(torch.arange(300))
    assert torch.linalg.eigvalsh(left(matrix, low_rank)).min() > -1e-12


def test_operators_without_rows_are_read_by_indexing_or_products(spd, generator):
    class Bare:
        shape, dtype, device = torch.Size([30, 30]), torch.float64, torch.device("cpu")
        entries = spd(30, condition=1e4, generator=generator)

        def matmul(self, rhs):
            return self.entries @ rhs

        def diagonal(self):
            return self.entries.diagonal()

        def double(self):
            return self

    bare = pivoted_cholesky(Bare(), 8)
    lazy = pivoted_cholesky(DenseLinearOperator(Bare.entries), 8)
    torch.testing.assert_close(bare.factor, lazy.factor)


@pytest.mark.parametrize(
    ("op", "rank", "message"),
    [
        (torch.ones(3, 4), 2, r"op: got shape \(3, 4\); give a square one"),
        (torch.eye(3).expand(2, 3, 3), 2, r"op: got shape \(2, 3, 3\); give one matrix"),
        (torch.diag(torch.tensor([1.0, -1.0])), 2, "op: got a diagonal with -1.0e"),
        (torch.eye(3), 0, "rank: got 0; give a positive"),
        ("K", 1, "op: got str without shape, dtype"),
        (torch.eye(3, dtype=torch.int64), 1, "op: got torch.int64; convert"),
        (torch.full((2, 2), torch.nan), 1, "op: got 4 of 4 entries not finite"),
    ],
)
def test_bad_input_is_named(op, rank, message):
    with pytest.raises(ArgumentError, match=message):
        pivoted_cholesky(op, rank)
