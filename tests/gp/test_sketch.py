"""Sketch-and-project against a dense solve, on spectra that fall slowly."""

import pytest
import torch

from kernelgp.errors import ConvergenceWarning
from kernelgp.gp.sketch import sketch_and_project
from kernelgp.kernels import Matern
from kernelgp.operators import KernelOperator


def problem(dtype, n=400, k=2):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(n, k, generator=generator, dtype=torch.float64)
    noise = torch.linspace(1e-2, 3e-2, n, dtype=torch.float64)
    return KernelOperator(Matern(1.5, 1.0), x.to(dtype)), noise, y


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
@pytest.mark.parametrize("kept", [2**28, 1])
def test_many_blocks_reach_the_solution_and_report_their_residual(monkeypatch, dtype, rtol, kept):
    monkeypatch.setattr("kernelgp.gp.sketch._KEPT", kept)
    op, noise, y = problem(dtype)
    found, report = sketch_and_project(
        op, noise, y, rtol=rtol, max_passes=400, block=60, generator=torch.Generator()
    )
    matrix = op.to_dense().detach().double() + noise.diag()
    true = (y - matrix @ found).norm(dim=0) / y.norm(dim=0)
    assert report.converged
    assert report.method == "sketch"
    torch.testing.assert_close(report.residual, true, rtol=1e-2, atol=0.1 * rtol)
    exact = torch.linalg.solve(matrix, y)
    assert (found - exact).norm() < 300 * rtol * exact.norm()


def test_one_block_is_a_direct_solve():
    op, noise, y = problem(torch.float64, n=100)
    found, report = sketch_and_project(op, noise, y, rtol=1e-9, generator=torch.Generator())
    assert report.iterations <= 4
    matrix = op.to_dense().detach() + noise.diag()
    torch.testing.assert_close(found, torch.linalg.solve(matrix, y), rtol=1e-7, atol=1e-7)


def test_zero_targets_take_no_pass():
    op, noise, y = problem(torch.float64, n=100)
    found, report = sketch_and_project(op, noise, 0 * y, generator=torch.Generator())
    assert report.iterations == 0
    assert not found.any()


def test_passes_that_do_not_suffice_are_said_and_the_best_is_kept():
    op, noise, y = problem(torch.float64)
    with pytest.warns(ConvergenceWarning, match="sketch: worst residual"):
        _, report = sketch_and_project(
            op, noise, y, rtol=1e-12, max_passes=3, block=60, generator=torch.Generator()
        )
    assert 0 < report.residual.max() < 1
