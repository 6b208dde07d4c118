"""One slab: the frozen neighbour, and the linearised equation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Box, Dirichlet, Initial, Periodic, Problem
from solvers.slabs.axes import SpaceAxis, TimeAxis
from solvers.slabs.conditions import sides_of
from solvers.slabs.layout import Layout
from solvers.slabs.system import FrozenNeighbour, SlabSystem
from solvers.slabs.warp import Layer, Warp

UNIT = Box(x=(0, 1), t=(0, 1))
SIDES = Dirichlet(0, on=["x-", "x+"])
PROBLEMS = {
    "burgers": Problem("u_t + u*u_x = u_xx/10", UNIT, [Initial("sin(pi*x)"), SIDES]),
    "turned": Problem(
        "u_t + x*u*u_x = (2 + sin(t))*u_xx/10",
        Box(t=(0, 1), x=(0, 1)),
        [Initial("sin(pi*x)"), SIDES],
    ),
    "wave": Problem("u_tt + u_t*u = u_xx", UNIT, [Initial("sin(pi*x)", 0), SIDES]),
    "schrodinger": Problem(
        ["v_t = u_xx + u*v", "u_t = -v_xx + x*u**2"],
        UNIT,
        [Initial("sin(2*pi*x)", of="u"), Initial(0, of="v"), Periodic("x")],
        functions=["u", "v"],
    ),
}


def make_system(problem, nodes=24):
    layout = Layout.of(problem)
    warp = Warp(0.0, 1.0, (Layer(0.4, 0.2, 0.3),), layout.periodic)
    space = SpaceAxis(warp, nodes, layout.orders[0])
    time = TimeAxis(0.2, 0.3, 6, layout.order, layout.orders[1])
    return SlabSystem(layout, space, sides_of(layout, space), time)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_frozen_neighbour_inverts_its_two_products(n, k, seed):
    rng = np.random.default_rng(seed)
    M, K = rng.normal(size=(2, n, n))
    A, B = rng.normal(size=(2, k, k))
    dense = np.kron(M, A) + np.kron(K, B)
    C = rng.normal(size=(n, k, 3))
    rhs = (dense @ C.reshape(n * k, 3)).reshape(C.shape)
    found = FrozenNeighbour(M, K, A, B).solve(rhs)
    bound = 1e-13 * np.linalg.cond(dense) * np.abs(C).max()
    assert np.abs(found - C).max() < bound
    assert np.allclose(FrozenNeighbour(M, K, A, B).solve(rhs[..., 0]), found[..., 0], atol=bound)


@pytest.mark.parametrize("name", PROBLEMS)
def test_slopes_are_the_derivatives_of_the_residual(name):
    system = make_system(PROBLEMS[name])
    rng, m = np.random.default_rng(0), len(PROBLEMS[name].functions)
    C = rng.normal(size=(m, system.space.rank, system.time.rank))
    inside = rng.normal(size=system.shape)
    slopes, step, h = system.slopes(C), system.expand(inside), 1e-6
    differences = (system.residual(C + h * step) - system.residual(C - h * step)) / (2 * h)
    exact = system.apply(slopes, inside)
    assert np.abs(differences + exact).max() < 1e-7 * np.abs(exact).max()
    batch = system.apply_all(slopes, np.stack([step, 2 * step], axis=-1))
    assert np.allclose(batch, exact[..., None] * [1, 2], rtol=0, atol=1e-12 * np.abs(exact).max())
    assert np.allclose(system.inside(step), inside, atol=1e-12)


@pytest.mark.parametrize("name", ["burgers", "schrodinger"])
def test_what_does_not_change_in_time_is_its_own_neighbour(name):
    system = make_system(PROBLEMS[name])
    m = len(PROBLEMS[name].functions)
    profile = np.random.default_rng(0).normal(size=(m, system.space.rank))
    constant = system.time.fit @ np.ones(len(system.time.fit_nodes))
    slopes = system.slopes(profile[:, :, None] * constant)
    inside = np.random.default_rng(1).normal(size=system.shape)
    found = system.frozen(slopes).solve(system.apply(slopes, inside))
    assert np.abs(found - inside).max() < 1e-8
