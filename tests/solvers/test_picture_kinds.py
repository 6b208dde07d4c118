"""Pictures of one kind, of systems and of three dimensions: files that hold an image."""

import numpy as np
import pytest
from matplotlib.image import imread

from kernelgp.errors import ArgumentError
from solvers import Box, ChebyshevSolver, Dirichlet, GPSolver, Initial, Problem
from solvers.picture_kinds import KINDS

UNIT = Box(x=(0, 1), t=(0, 1))


@pytest.fixture(scope="module")
def heat():
    problem = Problem.from_exact(
        "u_t = u_xx/100 + f",
        UNIT,
        "sin(12*x)*exp(-t)",
        [Initial(), Dirichlet(on=["x-", "x+"])],
    )
    return GPSolver().solve(problem, grid=(24, 20))


@pytest.fixture(scope="module")
def system():
    problem = Problem.from_exact(
        ["u_x = v", "v_x + 900*u = f"],
        Box(x=(0, 1)),
        {"u": "sin(20*x)", "v": "20*cos(20*x)"},
        functions=["u", "v"],
        conditions=[Dirichlet(on="x-")],
    )
    return GPSolver().solve(problem, grid=(60,))


def drawn(path):
    """Whether there is something on the page besides white."""
    image = imread(path)
    return min(image.shape[:2]) > 100 and np.ptp(image[..., :3]) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(heat, tmp_path, kind):
    assert drawn(heat.plot(tmp_path / f"{kind}.png", kind=kind))


def test_kinds_differ(heat, tmp_path):
    paths = [heat.plot(tmp_path / f"{kind}.png", kind=kind) for kind in KINDS]
    assert len({path.read_bytes() for path in paths}) == len(KINDS)


@pytest.mark.parametrize("kind", [None, "solution", "error", "deviation", "residual"])
def test_a_system_is_drawn(system, tmp_path, kind):
    assert drawn(system.plot(tmp_path / "u.png", kind=kind))


def test_three_dimensions_are_drawn_in_planes(tmp_path):
    box = Box(x=(0, 1), y=(0, 1), z=(0, 1))
    problem = Problem.from_exact("u_xx + u_yy + u_zz = f", box, "sin(6*x)*y*z")
    solution = GPSolver().solve(problem, grid=(20, 16, 16))
    assert drawn(solution.plot(tmp_path / "u.png", kind="solution"))
    assert drawn(solution.plot(tmp_path / "s.png", kind="slices"))
    assert drawn(solution.plot(tmp_path / "page.png"))


def test_a_system_becomes_a_data_set_of_both_functions(system):
    data = system.to_xarray()
    assert list(data.data_vars) == ["u_mean", "u_std", "u_exact", "v_mean", "v_std", "v_exact"]
    np.testing.assert_allclose(data.u_mean, np.sin(20 * data.x), atol=1e-8)
    np.testing.assert_allclose(data.v_mean, 20 * np.cos(20 * data.x), atol=1e-6)
    assert data.attrs["equation"] == "u_x = v; v_x + 900*u = f"


def test_what_cannot_be_drawn_is_said(heat, system, tmp_path):
    path = tmp_path / "u.png"
    with pytest.raises(ArgumentError, match="kind: got 'contour'; give 'solution', 'error'"):
        heat.plot(path, kind="contour")
    with pytest.raises(ArgumentError, match="'slices' in one dimension"):
        system.plot(path, kind="slices")
    with pytest.raises(ArgumentError, match="'spectrum' of a CollocationPosterior"):
        system.plot(path, kind="spectrum")
    plain = Problem("u_xx = f", Box(x=(0, 1)), [Dirichlet(0)], f=1)
    solution = ChebyshevSolver().solve(plain, grid=(20,))
    with pytest.raises(ArgumentError, match="'error' without an exact solution"):
        solution.plot(path, kind="error")
    with pytest.raises(ArgumentError, match="'deviation' of a solver that has none"):
        solution.plot(path, kind="deviation")
    assert not path.exists()
