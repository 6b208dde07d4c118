"""``Φ Φᵀ``: products, and solves with noise, against the dense matrix."""

import pytest
import torch

from kernelgp import linalg
from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.operators import FeatureOperator

PHI = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linalg_solves_and_measures_it_exactly(dtype):
    phi = PHI.to(dtype)
    noise = torch.linspace(1e-4, 1e-2, 40, dtype=dtype)
    A = FeatureOperator(phi).add_diagonal(noise)
    dense = phi.double() @ phi.double().mT + torch.diag(noise.double())
    rhs = torch.randn(40, 2, dtype=dtype)
    solution, report = linalg.solve(A, rhs, rtol=1e-6)
    assert report.method == "direct"
    assert report.converged
    tolerance = 1e-8 if dtype == torch.float64 else 1e-2
    torch.testing.assert_close(
        solution, torch.linalg.solve(dense, rhs.double()), rtol=tolerance, atol=tolerance
    )
    value, error = linalg.logdet(A)
    torch.testing.assert_close(value, dense.logdet(), rtol=1e-6, atol=0)
    assert error == 0


def test_rows_and_products_are_those_of_the_matrix():
    K, dense = FeatureOperator(PHI), PHI @ PHI.mT
    torch.testing.assert_close(K.rows(torch.tensor([3, 0])), dense[[3, 0]])
    torch.testing.assert_close(K @ PHI, dense @ PHI)
    torch.testing.assert_close(K[2:4, :5].to_dense(), dense[2:4, :5])


def test_noise_of_one_number_is_noise_of_every_row():
    one = FeatureOperator(PHI).add_diagonal(torch.tensor(0.3, dtype=torch.float64))
    rows = FeatureOperator(PHI).add_diagonal(torch.full((40,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(one.to_dense(), rows.to_dense())
    torch.testing.assert_close(one.logdet(), rows.to_dense().logdet())


@pytest.mark.parametrize(
    ("phi", "message"),
    [
        (torch.ones(3), r"phi: got shape \(3,\); give \(\.\.\., n, D\)"),
        (torch.ones(3, 0), r"phi: got shape \(3, 0\)"),
        (torch.full((2, 2), torch.nan), r"phi: got 4 of 4 entries not finite"),
        (torch.ones(2, 2, dtype=torch.int64), r"phi: got torch.int64"),
    ],
)
def test_what_are_no_features_is_refused(phi, message):
    with pytest.raises(ArgumentError, match=message):
        FeatureOperator(phi)


def test_what_does_not_fit_is_named():
    with pytest.raises(ArgumentTypeError, match="phi: got list; give a torch tensor"):
        FeatureOperator([[1.0]])
    K = FeatureOperator(PHI)
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(3, 1\)"):
        K @ torch.ones(3, 1, dtype=torch.float64)
    with pytest.raises(
        ArgumentError, match=r"diag: got shape \(3,\); give \(\), .* \(\.\.\., 40\)"
    ):
        K.add_diagonal(torch.ones(3))
