import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import kernelgp

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What conda-forge calls by another name.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*extras):
    """The packages of pyproject.toml by canonical name, our own extras left out."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    found = {canonical(r.name): r for r in map(Requirement, lines)}
    found.pop("kernelgp", None)
    return found


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = map(Requirement, (line for line in lines if line and not line.startswith("#")))
    return {canonical(r.name): r for r in pinned}


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def conda_packages(conda):
    pairs = (line.partition(" ") for line in conda["dependencies"])
    return {canonical(name): SpecifierSet(ranges) for name, _, ranges in pairs}


def test_the_conda_environment_has_a_name_channels_and_dependencies_only(conda):
    assert set(conda) == {"name", "channels", "dependencies"}
    assert conda["channels"] == ["conda-forge"]
    assert all(isinstance(line, str) for line in conda["dependencies"])


def test_the_conda_environment_has_our_python(conda_packages):
    assert conda_packages["python"] == SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", sorted(requirements("keops", "bench", "dev")))
def test_the_conda_environment_has_every_dependency_at_our_range(conda_packages, name):
    ours = requirements("keops", "bench", "dev")[name]
    assert conda_packages[canonical(CONDA_NAMES.get(name, name))] == ours.specifier


@pytest.mark.parametrize("name", sorted(requirements("keops", "bench", "dev")))
def test_every_dependency_is_pinned_within_its_range(name):
    (pin,) = pins()[name].specifier
    assert pin.operator == "=="
    assert pin.version in requirements("keops", "bench", "dev")[name].specifier
    assert Version(pin.version).local is None


def test_the_newest_torch_is_not_asked_for():
    """Without an upper bound pip brings several gigabytes of CUDA packages."""
    (torch,) = (r for r in requirements().values() if r.name == "torch")
    assert "2.13.0" in torch.specifier
    assert "2.14.0" not in torch.specifier


def test_the_version_stands_in_two_places_and_is_the_same():
    assert PROJECT["version"] == kernelgp.__version__


def test_the_changelog_has_an_entry_for_the_version():
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_wheel_holds_both_packages_their_types_and_the_command(tmp_path):
    # A copy: setuptools writes build/ and *.egg-info beside what it builds.
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("kernelgp", "solvers", "experiments", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("kernelgp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "kernelgp = kernelgp.cli:main" in archive.read(entry).decode()
    modules = {
        path.relative_to(source).as_posix()
        for package in ("kernelgp", "solvers")
        for path in (source / package).rglob("*.py")
    }
    assert modules | {"kernelgp/py.typed", "solvers/py.typed"} <= names
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {
        "kernelgp",
        "solvers",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
