"""Several processes give the numbers of one, and end when one of them does."""

import importlib.util
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kernelgp.errors import ArgumentError, ArgumentTypeError, LostRankError
from kernelgp.kernels import RBF
from kernelgp.operators import KernelOperator, ShardedOperator
from kernelgp.operators.ranks import Ranks

WORKER = Path(__file__).parent / "sharded_worker.py"
SIZE = 2


def start(task, size, folder):
    command = [sys.executable, "-W", "ignore", str(WORKER), task]
    return [
        subprocess.Popen(
            [*command, str(rank), str(size), str(folder)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(size)
    ]


def worker():
    spec = importlib.util.spec_from_file_location("sharded_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPECTED = {name: value.detach() for name, value in worker().answers(lambda op: op).items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by name."""
    folder = tmp_path_factory.mktemp("answers")
    processes = start("answers", SIZE, folder)
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * SIZE, errors
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]


@pytest.mark.parametrize("name", EXPECTED)
def test_two_processes_give_the_numbers_of_one(found, name):
    expected = EXPECTED[name]
    for one in found:
        assert one[name].dtype == expected.dtype
        error = (one[name] - expected).double().norm() / expected.double().norm()
        assert error <= (1e-6 if expected.dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("name", EXPECTED)
def test_all_processes_hold_the_same_bits(found, name):
    assert torch.equal(found[0][name], found[1][name])


@pytest.mark.parametrize(("how", "size"), [("killed", 3), ("stopped", 2)])
def test_a_lost_process_ends_the_others_with_its_rank(how, size, tmp_path):
    first, lost, *others = start(how, size, tmp_path)
    expected = rf"process_group: got no answer from rank 1 of {size} \(.+\); start"
    try:
        for process in (first, *others):
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 3, errors
            assert re.search(expected, errors)
    finally:
        lost.kill()
        lost.communicate()


def test_the_error_crosses_processes():
    error = pickle.loads(pickle.dumps(LostRankError("1, 2", 4, "Connection closed by peer")))
    assert (error.ranks, error.size) == ("1, 2", 4)
    assert "rank 1, 2 of 4 (Connection closed" in str(error)


@pytest.fixture
def alone():
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", f"file://{folder}/store", rank=0, world_size=1)
        yield
        dist.destroy_process_group()


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_make_up_the_whole(alone, n, size):
    teams = [Ranks() for _ in range(size)]
    for rank, team in enumerate(teams):
        team.rank, team.size = rank, size
    for share in (Ranks.rows, Ranks.triangle):
        parts = [share(team, n) for team in teams]
        assert [i for part in parts for i in range(n)[part]] == list(range(n))


def test_the_shares_of_a_triangle_are_equal(alone):
    team, n = Ranks(), 1000
    team.size = 4
    for team.rank in range(4):
        rows = team.triangle(n)
        area = sum(n - i for i in range(rows.start, rows.stop))
        assert area == pytest.approx(n * n / 8, rel=0.01)


def test_a_group_of_one_needs_no_other(alone):
    K = KernelOperator(RBF(), torch.rand(5, 2))
    sharded = ShardedOperator(K, dist.group.WORLD)
    assert torch.equal(sharded @ torch.ones(5), K @ torch.ones(5))
    assert sharded.process_group is dist.group.WORLD
    assert repr(sharded).endswith("rank 0 of 1)")


def test_without_a_group_it_says_how_to_start():
    with pytest.raises(ArgumentError, match=r"process_group: got None before .*; start with"):
        ShardedOperator(torch.eye(3))


def test_what_is_no_operator_or_group_is_refused(alone):
    with pytest.raises(ArgumentTypeError, match=r"op: got list; give a LinearOperator"):
        ShardedOperator([[1.0]])  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentTypeError, match=r"process_group: got str; give a torch"):
        ShardedOperator(torch.eye(3), "gloo")


def test_wrong_right_hand_sides_are_refused_before_anything_is_sent(alone):
    sharded = ShardedOperator(KernelOperator(RBF(), torch.rand(5, 2)))
    with pytest.raises(ArgumentError, match=r"rhs: got shape \(4,\)"):
        sharded @ torch.ones(4)
