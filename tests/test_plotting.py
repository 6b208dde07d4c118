import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from kernelgp.errors import ArgumentError
from kernelgp.plotting import band, field, grid_of_axes, save


@pytest.mark.parametrize("scale", ["signed", "magnitude", "log"])
@pytest.mark.parametrize("values", [np.zeros((4, 3)), np.full((4, 3), np.nan), np.eye(4)])
def test_any_field_is_drawn_and_saved_without_a_warning(tmp_path, scale, values):
    figure, axes = grid_of_axes()
    field(axes[0, 0], values, (0, 1, 0, 2), scale=scale, label="u")
    assert save(figure, tmp_path / "new" / "u.png").stat().st_size > 1000


def test_the_first_axis_runs_to_the_right_and_the_second_upwards(tmp_path):
    values = np.zeros((2, 2))
    values[1, 0] = 1.0  # high x, low y: bottom right
    figure, axes = grid_of_axes()
    field(axes[0, 0], values, (0, 1, 0, 1))
    figure.draw_without_rendering()
    frame = axes[0, 0].get_window_extent()
    pixels = matplotlib.image.imread(save(figure, tmp_path / "u.png", dpi=figure.dpi))
    right, top = frame.x0 + 0.75 * frame.width, pixels.shape[0] - frame.y0 - 0.75 * frame.height
    left, bottom = frame.x0 + 0.25 * frame.width, pixels.shape[0] - frame.y0 - 0.25 * frame.height
    red, _, blue = pixels[int(bottom), int(right), :3]
    assert red > 2 * blue
    for x, y in ((left, bottom), (left, top), (right, top)):
        red, _, blue = pixels[int(y), int(x), :3]
        assert abs(red - blue) < 0.05


def test_a_log_scale_spans_six_decades_at_most():
    _, axes = grid_of_axes()
    field(axes[0, 0], np.array([[1e-300, 1.0], [0.0, 1e-3]]), (0, 1, 0, 1), scale="log")
    assert axes[0, 0].images[0].norm.vmin == pytest.approx(1e-6)


def test_a_band_is_two_standard_deviations_wide():
    _, axes = grid_of_axes()
    band(axes[0, 0], [0, 1], [5, 5], [1, 1], label="u")
    edges = axes[0, 0].collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (3, 7)


def test_an_unknown_format_is_refused_before_anything_is_made(tmp_path):
    figure, _ = grid_of_axes()
    with pytest.raises(ArgumentError, match=r"path: got '.*u\.docx'; end it in one of .*\.png"):
        save(figure, tmp_path / "new" / "u.docx")
    assert not (tmp_path / "new").exists()


def test_pyplot_is_never_imported():
    code = "import sys, kernelgp.plotting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
