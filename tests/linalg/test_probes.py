"""Rows that depend on their index alone, and are standard normal all the same."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.linalg.probes import row_normals


@given(split=st.integers(0, 50), columns=st.integers(1, 8), seed=st.integers(0, 2**62))
def test_rows_do_not_depend_on_the_shard_they_are_in(split, columns, seed):
    index = torch.arange(50)
    whole = row_normals(index, columns, seed)
    parts = torch.cat([row_normals(part, columns, seed) for part in (index[:split], index[split:])])
    assert torch.equal(parts, whole)
    assert torch.equal(row_normals(index, columns + 1, seed)[:, :columns], whole)


def test_numbers_are_standard_normal_and_uncorrelated():
    z = row_normals(torch.arange(20_000), 8, seed=3)
    error = 4 / z.shape[0] ** 0.5  # four standard errors
    assert (z.mean(dim=0).abs() < error).all()
    assert (z.mT @ z / len(z) - torch.eye(8)).abs().max() < 2**0.5 * error
    assert ((z**4).mean(dim=0) - 3).abs().max() < 96**0.5 * error
    neighbors = (z[1:] * z[:-1]).mean(dim=0)
    assert neighbors.abs().max() < error
    other = row_normals(torch.arange(20_000), 8, seed=4)
    assert (z * other).mean(dim=0).abs().max() < error
