import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from kernelgp.estimators.coordinates import Coordinates


def test_chords_of_the_sphere_are_those_of_the_haversine_formula():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.uniform(-90, 90, 20), rng.uniform(-180, 360, 20)])
    Z = Coordinates("spherical").embed(X)
    a, b = np.radians(X[:10]), np.radians(X[10:])
    h = np.sin((a - b)[:, 0] / 2) ** 2
    h += np.cos(a[:, 0]) * np.cos(b[:, 0]) * np.sin((a - b)[:, 1] / 2) ** 2
    np.testing.assert_allclose(np.linalg.norm(Z[:10] - Z[10:], axis=1), 2 * np.sqrt(h))


def test_groups_are_places_then_everything_else():
    assert Coordinates("euclidean").groups(3) is None
    np.testing.assert_array_equal(Coordinates("spherical").groups(5), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(Coordinates("space-time").groups(3), [0, 0, 1])


@pytest.mark.parametrize(
    ("kind", "X", "message"),
    [
        ("spherical", [[91.0, 0.0]], "latitudes from 91 to 91 in column 0; give degrees"),
        ("spherical", [[9.0, 400.0]], "longitudes from 400 to 400 in column 1"),
        ("spherical", [[9.0]], "1 column with coordinates='spherical'"),
        ("space-time", [[9.0]], "give places, then time"),
    ],
)
def test_columns_that_are_no_such_coordinates_are_refused(kind, X, message):
    with pytest.raises(ArgumentError, match=message):
        Coordinates(kind).check(np.array(X))
