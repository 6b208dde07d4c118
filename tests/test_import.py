"""What importing the library does and does not do; each case in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import pytest

import kernelgp

installed = pytest.mark.skipif(
    importlib.util.find_spec("pykeops") is None, reason="pykeops is not installed"
)


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_importing_prints_nothing():
    done = run("import kernelgp.kernels, kernelgp.operators, kernelgp.linalg, solvers")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@installed
def test_a_cache_folder_that_cannot_be_written_costs_keops_and_nothing_else():
    code = (
        "import warnings, torch; from kernelgp.kernels import RBF;"
        "from kernelgp.operators import KernelOperator;"
        "from kernelgp.operators.backends import keops;"
        "warnings.simplefilter('ignore');"
        "op = KernelOperator(RBF(), torch.rand(9, 2), backend='keops');"
        "op @ torch.ones(9, 1); print(op.backend, keops.problem())"
    )
    done = run(code, KEOPS_CACHE_FOLDER="/proc/keops/below")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiled its cache folder cannot be written")


def test_the_operators_bring_in_neither_scikit_learn_nor_matplotlib():
    heavy = "('sklearn', 'matplotlib', 'sympy', 'typer', 'pandas', 'xarray')"
    code = (
        "import sys, kernelgp.operators, kernelgp.linalg;"
        f"sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    )
    done = run(code)
    assert done.stderr.strip() in ("", "[]"), done.stderr


def test_submodules_load_on_first_use_and_are_listed():
    assert {"kernels", "linalg", "operators", "errors"} <= set(dir(kernelgp))
    assert kernelgp.linalg is sys.modules["kernelgp.linalg"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kernelgp.nonsense
