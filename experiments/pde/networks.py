"""Physics-informed networks on the paper's problems: baselines, trained once and kept.

``python -m experiments.pde.networks`` trains a plain network and one with random Fourier features
of three scales on every problem of the paper, ten minutes of processor time each, and adds a line
to `networks.jsonl` beside this file for each that is not there yet. `python -m experiments.pde`
prints those lines beside the other methods.

References
----------
M. Raissi, P. Perdikaris and G. E. Karniadakis, *Physics-informed neural networks*, Journal of
Computational Physics 378, 2019; S. Wang, H. Wang and P. Perdikaris, *On the eigenvector bias of
Fourier feature networks*, Computer Methods in Applied Mechanics and Engineering 384, 2021.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sympy
import torch
from torch import Tensor, nn

from experiments.machine import machine, versions
from solvers import Problem, gallery

__all__ = ["MINUTES", "NETWORKS", "Trained", "load", "train"]

Orders = tuple[int, ...]
Kind = Literal["PINN", "Fourier PINN"]
NETWORKS: tuple[Kind, ...] = ("PINN", "Fourier PINN")
STORE = Path(__file__).with_name("networks.jsonl")

_LAYERS, _WIDTH = 4, 64
MINUTES = 10.0
# The rest of the time is L-BFGS's.
_ADAM_SHARE = 0.6
_BATCH, _FIXED = 512, 2048
_FACE_WEIGHT = 100.0
_TESTED = 4000


@dataclass(frozen=True, slots=True)
class Trained:
    """How one network did on one problem.

    Attributes
    ----------
    error : relative L2 error after the last step, at random points
    seconds : processor time of the training
    """

    problem: str
    method: Kind
    error: float
    seconds: float
    adam_steps: int
    lbfgs_steps: int
    loss: float
    seed: int
    threads: int
    versions: dict[str, str]
    machine: dict[str, Any]


class Network(nn.Module):
    """A tanh network whose derivatives along the axes, to the second, are carried forward.

    Parameters
    ----------
    dimension
        Inputs are in [-1, 1] along each axis.
    scales
        Standard deviations of random frequencies, in cycles per side; none without them.
    """

    frequencies: Tensor

    def __init__(self, dimension: int, scales: Sequence[float], generator: torch.Generator) -> None:
        super().__init__()
        per_scale = _WIDTH // 2
        drawn = [s * torch.randn(per_scale, dimension, generator=generator) for s in scales]
        # Of a side of length two.
        frequencies = math.pi * torch.cat(drawn) if drawn else torch.zeros(0, dimension)
        self.register_buffer("frequencies", frequencies)
        inputs = 2 * len(frequencies) if drawn else dimension
        sizes = [inputs, *[_WIDTH] * _LAYERS, 1]
        self.layers = [nn.Linear(m, n) for m, n in itertools.pairwise(sizes)]
        # Registers their parameters; a list keeps their type.
        self.all_layers = nn.ModuleList(self.layers)
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, orders: Sequence[Orders]) -> dict[Orders, Tensor]:
        """The value and the derivatives asked for, each of shape (n,)."""
        value, slopes, curvatures = self._embed(x)
        *hidden, last = self.layers
        for layer in hidden:
            value = torch.tanh(layer(value))
            slope_of = 1 - value**2
            weight = layer.weight.T
            for k in range(x.shape[1]):
                slope, curvature = slopes[k] @ weight, curvatures[k] @ weight
                curvatures[k] = slope_of * (curvature - 2 * value * slope**2)
                slopes[k] = slope_of * slope
        out = {}
        for order in orders:
            k = int(np.argmax(order))
            inside = (value, slopes[k], curvatures[k])[order[k]]
            product = inside @ last.weight.T
            out[order] = (product if any(order) else product + last.bias)[:, 0]
        return out

    def _embed(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        d = x.shape[1]
        if not len(self.frequencies):
            unit = torch.eye(d, dtype=x.dtype)
            return x, [unit[k].expand(len(x), d) for k in range(d)], [torch.zeros_like(x)] * d
        angle = x @ self.frequencies.T
        cos, sin = torch.cos(angle), torch.sin(angle)
        slopes, curvatures = [], []
        for w in self.frequencies.T:
            slopes.append(torch.cat([-w * sin, w * cos], dim=1))
            curvatures.append(torch.cat([-(w**2) * cos, -(w**2) * sin], dim=1))
        return torch.cat([cos, sin], dim=1), slopes, curvatures


class Objective:
    """Mean squared residual and misfit of the conditions, each relative to its data's size."""

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.problem, self._rng = problem, rng
        self._low, self._high = (np.array(b) for b in np.transpose(problem.domain.bounds))
        nonlinear = problem.nonlinear
        self._terms = [(t.orders, t.coefficient) for t in problem.operator.terms]
        present = {o for o, _ in self._terms} | {(0,) * problem.dimension}
        self._nonlinear: Callable[..., Any] | None = None
        if nonlinear is not None:
            self._arguments = [d.orders for d in nonlinear.derivatives]
            # Problems of the gallery: nothing here was written by someone else.
            symbols = sorted(nonlinear.expression.free_symbols, key=str)
            self._nonlinear = sympy.lambdify(symbols, nonlinear.expression, "math")
            present |= set(self._arguments)
        self._orders = sorted(present)
        self._scale = self._typical_size()

    def points(
        self, count: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, list[tuple[Any, Tensor, Tensor]]]:
        """Inside: points and source; for each face itself, points on it and their values."""
        inside = self._rng.uniform(self._low, self._high, (count, self.problem.dimension))
        source = np.broadcast_to(self.problem.source(*inside.T), (count,))
        faces = []
        for face in self.problem.faces:
            on = self._rng.uniform(self._low, self._high, (max(count // 8, 2), len(self._low)))
            on[:, face.axis] = face.coordinate
            values = np.broadcast_to(face.value(*on.T), (len(on),))
            faces.append((face, self._unit(on, dtype), torch.tensor(values, dtype=dtype)))
        return self._unit(inside, dtype), torch.tensor(source, dtype=dtype), faces

    def __call__(self, network: Network, points: Any) -> Tensor:
        x, source, faces = points
        found = self._in_units(network(x, self._orders))
        left = sum((c * found[o] for o, c in self._terms), torch.zeros(()))
        if self._nonlinear is not None:
            left = left + self._nonlinear(*(found[o] for o in self._arguments))
        total = torch.mean(((left - source) / self._scale) ** 2)
        zero = (0,) * self.problem.dimension
        for face, at, values in faces:
            slope = tuple(int(k == face.axis) for k in range(len(zero)))
            both = self._in_units(network(at, [zero, slope]))
            outward = 2 * face.end - 1
            misfit = face.alpha * both[zero] + outward * face.beta * both[slope] - values
            total = total + _FACE_WEIGHT * torch.mean(misfit**2)
        return total

    def error(self, network: Network) -> float:
        rng = np.random.default_rng(1)
        points = rng.uniform(self._low, self._high, (_TESTED, self.problem.dimension))
        zero = (0,) * self.problem.dimension
        with torch.no_grad():
            found = network(self._unit(points, torch.float64), [zero])[zero].numpy()
        exact = self.problem.exact(points)
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    def _unit(self, points: Any, dtype: torch.dtype) -> Tensor:
        unit = 2 * (points - self._low) / (self._high - self._low) - 1
        return torch.from_numpy(unit).to(dtype)

    def _in_units(self, found: dict[Orders, Tensor]) -> dict[Orders, Tensor]:
        half = (self._high - self._low) / 2
        return {o: v / float(np.prod(half ** np.array(o))) for o, v in found.items()}

    def _typical_size(self) -> float:
        """Of the equation's largest term: the source, or what the exact solution's would be."""
        points = self._rng.uniform(self._low, self._high, (_TESTED, self.problem.dimension))
        source = float(np.sqrt(np.mean(np.square(self.problem.source(*points.T)))))
        coefficients = [abs(c) for _, c in self._terms]
        return max(source, max(coefficients))


def train(name: str, kind: Kind, *, minutes: float = MINUTES, seed: int = 0) -> Trained:
    """Adam in float32 on fresh points, then L-BFGS in float64 on fixed ones."""
    entry = gallery[name]
    generator = torch.Generator().manual_seed(seed)
    objective = Objective(entry.problem, np.random.default_rng(seed))
    # Up to half of what the published grid can carry.
    scales = (1.0, 10.0, max(entry.grid) / 8) if kind == "Fourier PINN" else ()
    network = Network(entry.problem.dimension, scales, generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started, budget = time.process_time(), 60 * minutes
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    adam_steps = 0
    while time.process_time() - started < _ADAM_SHARE * budget:
        optimizer.zero_grad()
        objective(network, objective.points(_BATCH, torch.float32)).backward()
        optimizer.step()
        adam_steps += 1
        if adam_steps % 2000 == 0:
            decay.step()

    network.double()
    fixed = objective.points(_FIXED, torch.float64)
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=20, history_size=50, line_search_fn="strong_wolfe"
    )
    lbfgs_steps, last = 0, math.inf

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(network, fixed)
        loss.backward()
        return loss

    while time.process_time() - started < budget:
        loss = optimizer.step(closure).item()
        lbfgs_steps += 20
        if not math.isfinite(loss) or loss == last:
            break
        last = loss
    return Trained(
        name,
        kind,
        objective.error(network),
        time.process_time() - started,
        adam_steps,
        lbfgs_steps,
        last,
        seed,
        torch.get_num_threads(),
        versions(()),
        machine(),
    )


def load() -> dict[tuple[str, str], Trained]:
    """What has been trained, by problem and method."""
    if not STORE.exists():
        return {}
    rows = [Trained(**json.loads(line)) for line in STORE.read_text("utf-8").splitlines()]
    return {(row.problem, row.method): row for row in rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pde.networks", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("problems", nargs="*", help="names of the gallery (default: the paper's)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="default: %(default)s")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = given.problems or [name for name in gallery if gallery[name].published is not None]
    for name in names:
        for kind in NETWORKS:
            if (name, kind) in load():
                continue
            trained = train(name, kind, minutes=given.minutes)
            with STORE.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(trained)) + "\n")
            print(f"{name}, {kind}: error {trained.error:.1e} in {trained.seconds:.0f} s")


if __name__ == "__main__":
    main()
