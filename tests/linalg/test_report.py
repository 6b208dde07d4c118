"""The report's verdict and words follow its figures."""

import torch

from kernelgp.linalg import SolveReport


def test_one_bad_column_is_no_convergence():
    assert not SolveReport("pcg", 1, torch.tensor([1e-9, 2e-6]), 1e-6, 0.0).converged
    assert SolveReport("pcg", 1, torch.tensor([1e-9, 1e-6]).double(), 1e-6, 0.0).converged


def test_nan_is_no_convergence():
    assert not SolveReport("pcg", 1, torch.tensor(torch.nan), 1e-6, 0.0).converged


def test_jitter_and_rank_are_named_only_where_there_are_any():
    plain = str(SolveReport("cholesky", 1, torch.tensor(0.0), 1e-6, 0.0))
    assert "jitter" not in plain
    assert "rank" not in plain
    full = str(SolveReport("pcg", 1, torch.tensor(0.0), 1e-6, 0.0, 7, 1e-8))
    assert full.endswith("rank 7, jitter 1.0e-08")
