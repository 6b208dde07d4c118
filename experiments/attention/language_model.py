"""A small character transformer, trained in the run: where real queries and keys come from.

Four layers of three heads of 64, no code of positions: a causal convolution of width four before
queries, keys and values tells what stands where, so that any context length can be read.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from kernelgp.progress import progress_bar

__all__ = ["CharacterModel", "Text", "heads_of", "read_text", "trained"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

_BATCH, _LENGTH, _RATE = 8, 512, 3e-3


def exactly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Characters as numbers: nine tenths to train on, the rest to validate."""

    train: Tensor
    valid: Tensor
    size: int


def read_text(folder: Path | None) -> Text:
    """The text under ``text/`` of the data folder."""
    if folder is None:
        raise FileNotFoundError("no text to train on: give --data or KERNELGP_DATA")
    path = next(iter(sorted((folder / "text").glob("*.txt"))))
    text = path.read_text(encoding="utf-8")
    characters = sorted(set(text))
    numbers = {character: i for i, character in enumerate(characters)}
    codes = torch.tensor([numbers[character] for character in text])
    cut = len(codes) * 9 // 10
    return Text(codes[:cut], codes[cut:], len(characters))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.Conv1d(width, width, 4, padding=3, groups=width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def queries_keys_values(self, x: Tensor) -> list[Tensor]:
        x = self.first(x)
        x = x + self.mix(x.mT)[..., : x.shape[1]].mT
        parts = self.project(x).chunk(3, dim=-1)
        return [y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in parts]

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        found = attend(*self.queries_keys_values(x))
        x = x + self.out(found.transpose(1, 2).flatten(-2))
        return x + self.feed(self.second(x))


class CharacterModel(nn.Module):
    """Next character from those before, by any causal `attend` of (B, heads, n, 64)."""

    def __init__(self, size: int, *, width: int = 192, layers: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, width)
        self.layers = nn.ModuleList(Layer(width, width // 64) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, codes: Tensor, attend: Attend = exactly) -> Tensor:
        x = self.embedding(codes)
        for layer in self.layers:
            x = layer(x, attend)
        return self.norm(x) @ self.embedding.weight.T / x.shape[-1] ** 0.5

    def loss(self, codes: Tensor, attend: Attend = exactly) -> Tensor:
        """Mean negative log probability of every character but the first, in nats."""
        logits = self(codes[:, :-1], attend)
        return cross_entropy(logits.flatten(0, 1), codes[:, 1:].flatten())


def trained(text: Text, path: Path, *, steps: int, seed: int = 0) -> CharacterModel:
    """The model of so many steps, from `path` if it is there, else trained and left there."""
    torch.manual_seed(seed)
    model = CharacterModel(text.size)
    if path.exists():
        model.load_state_dict(load_file(path))
        return model.eval()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.95))
    ramp = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    started = time.perf_counter()
    loss = torch.zeros(())
    with progress_bar("character model", total=steps) as bar:
        for _ in range(steps):
            at = torch.randint(len(text.train) - _LENGTH, (_BATCH, 1), generator=generator)
            loss = model.loss(text.train[at + torch.arange(_LENGTH + 1)])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            ramp.step()
            bar.advance(loss=loss.item())
    seconds = time.perf_counter() - started
    print(f"trained {steps} steps in {seconds:.0f} s, last training loss {loss.item():.3f} nat")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path)
    return model.eval()


@torch.no_grad()
def heads_of(model: CharacterModel, codes: Tensor) -> list[list[Tensor]]:
    """Queries, keys and values (heads, n, 64) of every layer on a text (n,)."""
    found = []

    def keep(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found.append([x[0].contiguous() for x in (q, k, v)])
        return exactly(q, k, v)

    model(codes[None], keep)
    return found
