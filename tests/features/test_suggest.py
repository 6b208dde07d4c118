"""Suggested features keep the error they promise."""

import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentError
from kernelgp.features import suggest_features
from kernelgp.kernels import RBF, Linear, Matern

X = np.random.default_rng(0).normal(size=(300, 6))


@pytest.mark.parametrize("kernel", [RBF(3.0), 2.0 * Matern(1.5, 4.0)], ids=repr)
@pytest.mark.parametrize("target", [0.1, 0.02])
def test_the_error_is_near_the_one_asked_for(kernel, target):
    found = suggest_features(kernel, X, target)
    Z = found.features.set_params(random_state=1).fit_transform(X)
    K = kernel(torch.from_numpy(X)).to_dense().detach().numpy()
    assert np.linalg.norm(Z @ Z.T - K) < 1.6 * target * np.linalg.norm(K)
    assert 0.5 * target < found.predicted_error < 1.5 * target
    assert 0 < found.effective_dimension < 300
    assert found.pilot_errors["orthogonal"] < found.pilot_errors["iid"]


def test_what_cannot_be_met_or_read_is_refused():
    with pytest.raises(ArgumentError, match=r"target_error: got 1e-06, which takes .* columns"):
        suggest_features(RBF(), X, 1e-6)
    with pytest.raises(ArgumentError, match="target_error: got 2; give a number between 0 and 1"):
        suggest_features(RBF(), X, 2)
    with pytest.raises(ArgumentError, match="X: got shape"):
        suggest_features(RBF(), X[0])
    with pytest.raises(ArgumentError, match="kernel: got Linear"):
        suggest_features(Linear(), X)
