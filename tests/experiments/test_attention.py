"""The attention benchmark measures what it says it does."""

import pytest
import torch

from experiments.attention import language_model
from experiments.attention.families import clustered, gaussian, smooth
from experiments.attention.language_model import CharacterModel, Text, heads_of, trained
from experiments.attention.methods import naive, performer
from experiments.attention.report import report
from experiments.attention.tasks import sweep, tasks
from experiments.harness import Options, run_all


@pytest.fixture
def text():
    codes = torch.randint(0, 11, (5000,), generator=torch.Generator().manual_seed(0))
    return Text(codes[:4000], codes[4000:], 11)


def options(tmp_path):
    return Options(quick=True, data=None, out=tmp_path, seed=0, fresh=False)


def test_the_naive_softmax_is_exact_and_performer_comes_near_where_logits_are_small():
    heads = gaussian(400, 0.05, seed=0)
    expected = heads.exactly()
    assert (naive(heads) - expected).norm() < 1e-5 * expected.norm()
    few, many = (
        ((performer(heads, m) - expected).norm() / expected.norm()).item() for m in (64, 4096)
    )
    assert many < few / 3
    assert many < 0.1


def test_logits_of_the_gaussian_family_have_the_spread_it_is_named_for():
    heads = gaussian(2000, 0.5, seed=0)
    assert (heads.scale * heads.q @ heads.k.mT).std().item() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("make", [clustered, smooth])
def test_families_repeat_by_seed(make):
    first, again, other = make(300, 0), make(300, 0), make(300, 1)
    assert torch.equal(first.v, again.v)
    assert not torch.equal(first.v, other.v)
    assert first.k.shape == (1, 300, 64)


def test_the_model_reads_no_character_ahead(text):
    torch.manual_seed(0)
    model = CharacterModel(text.size, layers=2).eval()
    codes = text.valid[None, :50]
    changed = codes.clone()
    changed[0, 30:] = 0
    first, second = model(codes), model(changed)
    assert (first[0, :30] - second[0, :30]).abs().max() < 1e-5
    assert (first[0, 30:] - second[0, 30:]).abs().max() > 1e-2
    heads = heads_of(model, codes[0])
    assert [x.shape for x in heads[0]] == [(3, 50, 64)] * 3


def test_a_trained_model_is_read_back(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(language_model, "_LENGTH", 32)
    path = tmp_path / "model.safetensors"
    first = trained(text, path, steps=1)
    again = trained(text, path, steps=1)
    assert capsys.readouterr().out.count("trained 1 steps") == 1
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_family_is_run_and_drawn(tmp_path, capsys):
    task = sweep(options(tmp_path))[0]
    runs = run_all([task], options(tmp_path))
    assert all(run.error is None for run in runs)
    errors = {run.method: run.figures["error"] for run in runs}
    assert errors["torch SDPA"] == 0
    assert errors["kernelgp, kde"] < errors["HyperAttention"]
    report(runs, options(tmp_path))
    out = capsys.readouterr().out
    assert "x SDPA" in out
    assert (tmp_path / "errors.png").stat().st_size > 10_000
    assert (tmp_path / "lengths.png").stat().st_size > 5_000


def test_without_a_text_there_is_no_trained_family(tmp_path):
    names = {task.name for task in tasks(options(tmp_path))}
    families = {"gaussian 0.5", "gaussian 1", "clustered", "smooth", "error estimates"}
    beside = {"fastmax", "fastmax, causal", "maps", "sketches", "density", "modes"}
    assert names == families | beside
