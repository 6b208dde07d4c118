"""
Attention
=========

A character transformer of torch's own layers, read at long context with approximate attention.

It is trained on short pieces with exact attention, on words of a small language that is made up
here. Then it reads a text of 32 768 letters with `MultiheadAttention(method="auto")`, which
approximates within a tolerance that it checks, and with the exact one: nearly the same loss, fewer
seconds. Writes attention.png.
"""

import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kernelgp.attention import MultiheadAttention, attention
from kernelgp.plotting import COLORS, grid_of_axes, save

WIDTH, HEADS, LAYERS, LETTERS = 64, 1, 2, 27
SHORT, LONG, STEPS = 256, 32_768, 60
TOLERANCE = 0.05  # of a head's output; the loss moves by far less


class Reader(nn.Module):
    """Letters in, logits of the next letter out; `method` computes the attention."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        # What stands where: without a code of positions any length can be read.
        self.mix = nn.Conv1d(WIDTH, WIDTH, 4, padding=3)
        layers = []
        for _ in range(LAYERS):
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            # The weights have torch's names: any trained model can be read like this.
            layer.self_attn = MultiheadAttention(
                WIDTH, HEADS, batch_first=True, method=method, tolerance=TOLERANCE
            )
            layers.append(layer)
        self.layers = nn.ModuleList(layers)
        self.out = nn.Linear(WIDTH, LETTERS)

    def loss(self, letters: torch.Tensor) -> torch.Tensor:
        x = self.embedding(letters[:, :-1])
        x = x + self.mix(x.mT)[..., : x.shape[1]].mT
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return cross_entropy(self.out(x).flatten(0, 1), letters[:, 1:].flatten())


def text(length: int, seed: int) -> torch.Tensor:
    """Words drawn by Zipf's law from a vocabulary of 200, with blanks between them."""
    vocabulary = torch.Generator().manual_seed(0)
    words = [
        torch.randint(1, LETTERS, (int(n),), generator=vocabulary)
        for n in torch.randint(2, 8, (200,), generator=vocabulary)
    ]
    law = 1 / torch.arange(1.0, 201.0)
    drawn = torch.multinomial(
        law, length, replacement=True, generator=torch.Generator().manual_seed(seed)
    )
    blank = torch.zeros(1, dtype=torch.long)
    return torch.cat([torch.cat([words[i], blank]) for i in drawn.tolist()])[: length + 1]


def main() -> None:
    torch.manual_seed(0)
    exact, auto = Reader("exact"), Reader("auto")
    letters = text(100_000, seed=1)
    optimizer = torch.optim.AdamW(exact.parameters(), lr=3e-3)
    for _ in range(STEPS):
        at = torch.randint(len(letters) - SHORT, (16, 1))
        loss = exact.loss(letters[at + torch.arange(SHORT + 1)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained {STEPS} steps on pieces of {SHORT}: loss {loss.item():.3f} nat a letter")

    auto.load_state_dict(exact.state_dict())
    unseen = text(LONG, seed=2)[None]
    took = {}
    with torch.no_grad():
        for name, model in (("exact", exact.eval()), ("auto", auto.eval())):
            started = time.perf_counter()
            loss = model.loss(unseen)
            seconds = time.perf_counter() - started
            print(f"{name:>5} at {LONG} letters: loss {loss.item():.4f} nat, {seconds:.2f} s")
            took[f"{name}\n{loss.item():.4f} nat"] = seconds
    figure, axes = grid_of_axes(width=4.5, height=2.2)
    axes[0, 0].barh(list(took), list(took.values()), color=COLORS[:2])
    axes[0, 0].set_xlabel(f"seconds for {LONG} letters")
    save(figure, "attention.png")
    with torch.no_grad():
        # What "auto" did in the first layer, from its report.
        layer = auto.layers[0]
        x = auto.embedding(unseen[:, :-1])
        x = layer.norm1(x + auto.mix(x.mT)[..., : x.shape[1]].mT)
        projected = x @ layer.self_attn.in_proj_weight.T + layer.self_attn.in_proj_bias
        q, k, v = projected.chunk(3, dim=-1)
        _, report = attention(q, k, v, is_causal=True, tolerance=TOLERANCE, return_report=True)
        print(report)
        print(f"a query averages {report.effective_keys:.0f} keys")


if __name__ == "__main__":
    main()
