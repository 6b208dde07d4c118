"""Estimators on frames of polars and pandas: the numbers of numpy, and names that must agree."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kernelgp import GPClassifier, GPRegressor, KernelRidge, NystroemGPRegressor
from kernelgp.kernels import RBF

RNG = np.random.default_rng(0)
X, NEW = RNG.uniform(size=(50, 2)), RNG.uniform(size=(7, 2))
Y = np.sin(6 * X[:, 0]) + X[:, 1]
ESTIMATORS = [
    GPRegressor(RBF(0.3), noise=0.01, optimizer=None),
    GPClassifier(RBF(0.3), optimizer=None),
    KernelRidge(RBF(0.3)),
    NystroemGPRegressor(RBF(0.3), noise=0.01, n_inducing=10, optimizer=None, random_state=0),
]


@pytest.fixture(params=["pandas", "polars"])
def library(request):
    return pytest.importorskip(request.param)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_frames_give_the_numbers_of_arrays(library, estimator):
    y = (Y > 1).astype(int) if isinstance(estimator, GPClassifier) else Y
    frames = [library.DataFrame({"a": x[:, 0], "b": x[:, 1]}) for x in (X, NEW)]
    expected = estimator.fit(X, y).predict(NEW)
    found = estimator.fit(frames[0], library.Series(y)).predict(frames[1])
    np.testing.assert_array_equal(found, expected)
    assert isinstance(found, np.ndarray)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frames[1][["b", "a"]])


def test_a_pipeline_hands_frames_on(library):
    frame = library.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    model = make_pipeline(StandardScaler(), GPRegressor(noise=0.01, random_state=0))
    model.set_output(transform=library.__name__).fit(frame, Y)
    assert list(model[-1].feature_names_in_) == ["a", "b"]
    assert model.predict(frame).shape == (50,)
