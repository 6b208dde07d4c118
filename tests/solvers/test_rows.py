"""Blocks of rows: at points, on products of axes, projected and compressed."""

import numpy as np
import pytest

from solvers.axis_basis import AxisBasis, Component
from solvers.feature_basis import FeatureBasis
from solvers.least_squares import fit
from solvers.rows import AxisPart, Block, Part, Space, derivative_rows


def two_functions():
    line = AxisBasis(0.0, 1.0, [Component(0.0, 0.4)])
    other = AxisBasis(0.0, 1.0, [Component(0.0, 0.3), Component(4.0, 1.0)])
    return Space({"u": FeatureBasis([line, line]), "v": FeatureBasis([other, line])}, ["c"])


def test_every_unknown_has_its_own_columns():
    space = two_functions()
    x = np.random.default_rng(0).uniform(size=(6, 2))
    rows = space.at_points(x, [Part("u", (1, 0), 2.0), Part("v", (0, 0), x[:, 0])])
    u, v = space.bases["u"], space.bases["v"]
    np.testing.assert_array_equal(rows[:, space.slices["u"]], 2 * u.at_points(x, (1, 0)))
    expected = x[:, :1] * v.at_points(x, (0, 0))
    np.testing.assert_array_equal(rows[:, space.slices["v"]], expected)
    assert not rows[:, space.slices["c"]].any()
    assert list(np.bincount(space.groups)) == [u.size, v.size, 1]


def test_rows_of_one_function_add_up():
    space, x = two_functions(), np.random.default_rng(0).uniform(size=(4, 2))
    parts = [Part("u", (2, 0)), Part("u", (0, 2), 3.0)]
    separate = [space.at_points(x, [part]) for part in parts]
    np.testing.assert_allclose(space.at_points(x, parts), sum(separate), rtol=1e-14)


@pytest.mark.parametrize("noise", [1e-3, 1e-1])
def test_a_projected_block_says_what_all_points_of_the_grid_say(noise):
    space, axes = two_functions(), (np.linspace(0, 1, 30), np.linspace(0, 1, 26))
    parts = [Part("u", (2, 0)), Part("u", (0, 2)), Part("v", (0, 1), -0.5)]
    truth = np.random.default_rng(0).normal(size=space.size)
    matrix = space.on_axes(axes, parts)
    values = matrix @ truth
    rows = [
        AxisPart(
            p.function,
            tuple(
                derivative_rows(k, x, o)
                for k, (x, o) in enumerate(zip(axes, p.orders, strict=True))
            ),
            p.coefficient,
        )
        for p in parts
    ]
    block = space.projected("equation", rows, values.reshape(30, 26), noise)
    assert len(block.values) < len(values)
    plain = fit([Block("equation", matrix, values, noise)], np.ones(space.size))
    small = fit([block], np.ones(space.size))
    x = np.random.default_rng(1).uniform(size=(20, 2))
    at = space.at_points(x, [Part("u", (0, 0))])
    np.testing.assert_allclose(at @ small.white, at @ plain.white, atol=1e-8)
    np.testing.assert_allclose(small.deviation(at), plain.deviation(at), rtol=1e-6)


def test_a_compressed_block_keeps_evidence_and_noise():
    rng = np.random.default_rng(0)
    block = Block("seen", rng.normal(size=(200, 12)), rng.normal(size=200), 0.3)
    small = block.compressed()
    assert small.matrix.shape == (13, 12)
    before, after = fit([block], np.ones(12)), fit([small], np.ones(12))
    np.testing.assert_allclose(after.white, before.white, rtol=1e-10)
    expected = before.log_marginal_likelihood
    np.testing.assert_allclose(after.log_marginal_likelihood, expected, rtol=1e-12)
    np.testing.assert_allclose(after.misfit(small), before.misfit(block), rtol=1e-10)
