"""Tile sizes and the choice of how distances are taken."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.operators.backends import plan, tiled
from kernelgp.operators.backends.auto import choose_backend
from kernelgp.operators.backends.measured import TABLE
from kernelgp.operators.backends.plan import TilePlan, choose_distances, choose_tile
from kernelgp.operators.embedding import Distances, embed
from kernelgp.operators.expression import Leaf, Profile

CPU = torch.device("cpu")
F32, F64 = torch.float32, torch.float64


class Plain(Profile):
    """Covariance -s at squared distance s."""

    def value(self, s, *parameters):
        return -s

    def slope(self, s, *parameters):
        return -torch.ones_like(s)

    def formula(self, s, *parameters):
        return -s


@given(
    rows=st.integers(1, 300),
    entries=st.integers(1, 5000),
    n=st.integers(1, 5000),
    m=st.integers(1, 5000),
)
def test_tiles_fit_their_buffer_and_the_matrix(rows, entries, n, m):
    p, q = TilePlan(rows, entries).shape(n, m)
    assert 1 <= p <= n
    assert 1 <= q <= m
    assert p * q <= entries


@given(n=st.integers(1, 60), m=st.integers(1, 60), symmetric=st.booleans(), rows=st.integers(1, 9))
def test_tasks_cover_every_pair_once(n, m, symmetric, rows):
    m = n if symmetric else m
    plan = TilePlan(rows, 3 * rows * rows)
    seen = torch.zeros(n, m, dtype=torch.long)
    for task in tiled._tasks(slice(0, n), m, symmetric, plan):
        for block in task:
            p, q = block.shape
            assert p * q <= plan.entries
            seen[block.rows, block.columns] += 1
            if symmetric and not block.diagonal:
                seen[block.columns, block.rows] += 1
    assert (seen == 1).all()


def test_a_tile_fills_half_the_cache(monkeypatch):
    monkeypatch.setattr(plan, "_l2_bytes", lambda: 2**20)
    assert choose_tile(F32, CPU).shape(10**4, 10**4) == (256, 512)
    assert choose_tile(F64, CPU).shape(10**4, 10**4) == (256, 256)


def test_the_cache_size_is_plausible():
    assert 2**17 <= plan._l2_bytes() <= 2**21


@pytest.mark.parametrize(
    ("dtype", "reach", "expected"),
    [
        (F32, 1.0, Distances(F32, by_product=True)),
        (F32, 100.0, Distances(F64, by_product=True)),
        (F64, 100.0, Distances(F64, by_product=True)),
        (F64, 1e6, Distances(F64, by_product=False)),
        (F32, 1e6, Distances(F64, by_product=False)),
    ],
)
def test_the_farther_points_reach_the_more_precise_their_distances(dtype, reach, expected):
    x = torch.tensor([[-reach], [reach]], dtype=dtype)
    embedding = embed(Leaf(Plain()), x, None, None, dtype)
    assert choose_distances(embedding, dtype) == expected


def test_auto_forms_small_matrices_only():
    class Ours(torch.nn.Module):
        def expression(self):
            return Leaf(Plain())

    def choose(n, device):
        shape = torch.Size([n, n])
        return choose_backend("auto", Ours(), shape, TABLE["cuda"].keops_dimension + 1, device)

    for device in (CPU, torch.device("cuda")):
        limit = int(TABLE[device.type].dense_entries ** 0.5)
        assert choose(limit, device) == "dense"
        assert choose(limit + 1, device) == "tiled"
