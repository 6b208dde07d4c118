"""Every task of ``python -m experiments.attention``."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from experiments.attention import densities, fastmax, kronecker, sketches
from experiments.attention.families import Heads, clustered, gaussian, smooth
from experiments.attention.language_model import (
    CharacterModel,
    Text,
    heads_of,
    read_text,
    trained,
)
from experiments.attention.methods import AUTO, KDE, SDPA, methods
from experiments.harness import Method, Options, Task
from kernelgp.attention import KDEOptions, attention

__all__ = ["FAMILIES", "GRADIENTS", "KDE", "MODEL", "sweep", "tasks"]

MODEL, GRADIENTS, ESTIMATES = "character model", "gradients", "error estimates"
FAMILIES = ("gaussian 0.5", "gaussian 1", "clustered", "smooth", "trained")


def tasks(options: Options) -> Sequence[Task]:
    """In the order of the table; those of the trained heads where there is a text."""
    quick = options.quick
    lengths = [2048, 8192] if quick else [2048, 4096, 8192, 16_384, 32_768]
    made: dict[str, Callable[[int, int], Heads]] = {
        "gaussian 0.5": lambda n, seed: gaussian(n, 0.5, seed),
        "gaussian 1": lambda n, seed: gaussian(n, 1.0, seed),
        "clustered": clustered,
        "smooth": smooth,
    }
    found = []
    if options.data is not None and (options.data / "text").is_dir():
        model = _Model(options)
        made["trained"] = lambda n, seed: model.heads(n, layer=2, seed=seed)
        found = [
            _family("trained, causal", n, lambda n, s: model.heads(n, 1, s, is_causal=True))
            for n in lengths[1:]
        ]
        found += [_model_task(model, 8192 if quick else 16_384), _gradient_task(model)]
    families = [_family(name, n, make) for name, make in made.items() for n in lengths]
    others = (fastmax, kronecker, sketches, densities)
    beside = [task for part in others for task in part.tasks(quick=quick)]
    return [*families, *found, _estimate_task(made, quick=quick), *beside]


def sweep(options: Options) -> Sequence[Task]:
    """The smooth family by length."""
    lengths = [1024, 2048, 4096] if options.quick else [1024, 4096, 16_384, 32_768]
    return [_family("smooth at growing n", n, smooth) for n in lengths]


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def _family(
    name: str, n: int, make: Callable[[int, int], Heads], *, repeats: int | None = None
) -> Task:
    # Exact attention is what errors are of; it is computed once for all methods.
    @cache
    def expected(seed: int) -> Tensor:
        return make(n, seed).exactly()

    def score(data: tuple[Heads, int], found: Tensor) -> Mapping[str, float]:
        exactly = expected(data[1])
        rows = (found - exactly).norm(dim=-1) / exactly.norm(dim=-1).mean()
        return {"error": relative(found, exactly), "worst row": rows.max().item()}

    return Task(
        name=name,
        make=lambda seed: (make(n, seed), seed),
        score=score,
        methods=[
            Method(m.name, lambda data, m=m: m.prepare(data[0]), m.requires)
            for m in methods(n, is_causal="causal" in name)
        ],
        params={"n": n},
        repeats=repeats or (5 if n <= 8192 else 3),
    )


class _Model:
    """The character model, trained when it is first asked for."""

    def __init__(self, options: Options) -> None:
        self._options, self._steps = options, 30 if options.quick else 190

    @property
    def text(self) -> Text:
        return read_text(self._options.data)

    @cache  # noqa: B019 - one model a run
    def model(self, seed: int) -> CharacterModel:
        name = f"character-model-{self._steps}-{seed}.safetensors"
        return trained(self.text, self._options.out / name, steps=self._steps, seed=seed)

    @cache  # noqa: B019
    def _layers(self, n: int, seed: int) -> list[list[Tensor]]:
        return heads_of(self.model(seed), self.text.train[:n])

    def heads(self, n: int, layer: int, seed: int, *, is_causal: bool = False) -> Heads:
        q, k, v = (x[1:2] for x in self._layers(n, seed)[layer])
        return Heads(q, k, v, q.shape[-1] ** -0.5, is_causal)


def _model_task(model: _Model, n: int) -> Task:
    """The whole model's loss on one long context of text that it was not trained on."""

    def prepare(**given: Any) -> Callable[[int], Callable[[], Tensor]]:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attention(q, k, v, is_causal=True, **given)

        def run(seed: int) -> Callable[[], Tensor]:
            net, codes = model.model(seed), model.text.valid[None, : n + 1]
            with torch.no_grad():
                net(codes[:, :64], attend)

            @torch.no_grad()
            def loss() -> Tensor:
                return net.loss(codes, attend)

            return loss

        return run

    @cache
    def exactly(seed: int) -> float:
        with torch.no_grad():
            return model.model(seed).loss(model.text.valid[None, : n + 1]).item()

    return Task(
        name=MODEL,
        make=lambda seed: seed,
        score=lambda seed, loss: {
            "loss": loss.item(),
            "loss above exact": loss.item() - exactly(seed),
        },
        methods=[
            Method(KDE, prepare(method="kde")),
            Method(AUTO, prepare()),
            Method(SDPA, prepare(method="exact")),
        ],
        params={"n": n},
        repeats=1,
    )


def _gradient_task(model: _Model) -> Task:
    """Gradients of kde beside exact ones, for a random gradient of the output."""
    n = 4096

    def prepare(**given: Any) -> Callable[[tuple[Heads, Tensor]], Callable[[], list[Tensor]]]:
        def run(data: tuple[Heads, Tensor]) -> Callable[[], list[Tensor]]:
            heads, grad = data

            def gradients() -> list[Tensor]:
                leaves = [x.clone().requires_grad_() for x in (heads.q, heads.k, heads.v)]
                out = attention(*leaves, scale=heads.scale, **given)
                return list(torch.autograd.grad(out, leaves, grad))

            return gradients

        return run

    def make(seed: int) -> tuple[Heads, Tensor]:
        heads = model.heads(n, 1, seed)
        generator = torch.Generator().manual_seed(seed)
        return heads, torch.randn(heads.v.shape, generator=generator)

    def score(data: tuple[Heads, Tensor], found: list[Tensor]) -> Mapping[str, float]:
        expected = prepare(method="exact")(data)()
        errors = [relative(x, y) for x, y in zip(found, expected, strict=True)]
        return dict(zip(("error of dq", "error of dk", "error of dv"), errors, strict=True))

    return Task(
        name=GRADIENTS,
        make=make,
        score=score,
        methods=[
            Method(KDE, prepare(method="kde")),
            Method("kde, leaf 8", prepare(method="kde", options=KDEOptions(leaf=8))),
            Method(SDPA, prepare(method="exact")),
        ],
        params={"n": n},
        repeats=3,
    )


def _estimate_task(made: Mapping[str, Callable[[int, int], Heads]], *, quick: bool) -> Task:
    """Estimated over true error, over families, methods and seeds."""
    n, seeds = (2048, 3) if quick else (4096, 20)
    tried = {
        "tree": KDEOptions(leaf=16, near=2),
        "samples": KDEOptions(residual="sample", grouping="lsh", block_query=512, near=8),
        "k-means": KDEOptions(leaf=16, near=4, grouping="kmeans"),
    }

    def run(first: int) -> list[float]:
        ratios = []
        for make in made.values():
            # Heads of one model are the same for every seed; only the probes differ.
            data = make(n, first)
            expected = data.exactly()
            for options in tried.values():
                for seed in range(seeds):
                    found, report = attention(
                        data.q,
                        data.k,
                        data.v,
                        scale=data.scale,
                        method="kde",
                        options=options,
                        generator=seed,
                        return_report=True,
                    )
                    ratios.append((report.estimated_error or 0.0) / relative(found, expected))
        return ratios

    return Task(
        name=ESTIMATES,
        make=lambda seed: seed,
        score=lambda _, ratios: {
            "cases": len(ratios),
            "least ratio": min(ratios),
            "largest ratio": max(ratios),
            "within 2x": sum(0.5 < r < 2 for r in ratios) / len(ratios),
        },
        methods=[Method(KDE, lambda seed: lambda: run(seed))],
        params={"n": n},
        repeats=1,
    )
