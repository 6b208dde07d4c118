"""L-BFGS within bounds: what finds the hyperparameters.

A marginal likelihood is dear to evaluate (one Cholesky factor) and has few parameters, so what
counts is the number of evaluations. A Hessian found on a subsample of the data makes the first
direction a Newton step (`curvature`); the limited-memory pairs correct it.

References
----------
J. Nocedal and S. J. Wright, *Numerical Optimization*, 2nd ed., Springer 2006: algorithm 7.4 (the
two loops), section 3.5 (interpolation), 16.7 (projection on bounds).
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError

__all__ = ["Objective", "OptimizeReport", "Step", "curvature", "minimize"]

Objective = Callable[[Tensor], tuple[float, Tensor]]
"""From a vector (p,) to a value and its gradient (p,), both float64; infinite where undefined."""

# Wolfe's conditions: enough decrease, and enough of the slope gone.
_DECREASE, _SLOPE = 1e-4, 0.9
_LONGEST_STEP = 3.0  # of one logarithm in one iteration: a factor of 20
_TRIALS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: what it reached, and when."""

    iteration: int
    objective: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class OptimizeReport:
    """What an optimisation did.

    Attributes
    ----------
    vector : Tensor, shape (p,), float64
        The best parameters that were seen.
    objective, gradient_norm
        There; the norm is the largest entry of the gradient that does not push at a bound.
    iterations, evaluations, seconds
    tolerance
        An iteration is the last if it can gain no more than this.
    gain
        What a further step was expected to gain.
    interrupted
        Whether the user stopped it.
    at_bounds : tuple of str
        A sentence for each parameter that ended at a bound; filled in by `learn`.
    history : tuple of Step
    """

    vector: Tensor
    objective: float
    gradient_norm: float
    iterations: int
    evaluations: int
    seconds: float
    tolerance: float
    gain: float
    interrupted: bool = False
    at_bounds: tuple[str, ...] = ()
    history: tuple[Step, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether a further step would have gained less than the tolerance."""
        return not self.interrupted and self.gain <= self.tolerance

    def __str__(self) -> str:
        if math.isnan(self.objective):
            return f"lbfgs: interrupted before it had seen all rows, {self.seconds:.2f} s"
        state = "interrupted" if self.interrupted else "" if self.converged else "not converged"
        text = (
            f"lbfgs: objective {self.objective:.6g}, gradient {self.gradient_norm:.1e} after "
            f"{self.iterations} iterations, {self.evaluations} evaluations, {self.seconds:.2f} s"
        )
        return f"{text}, {state}" if state else text


def minimize(
    objective: Objective,
    start: Tensor,
    *,
    lower: Tensor | None = None,
    upper: Tensor | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    inverse_hessian: Tensor | None = None,
    memory: int = 20,
    callback: Callable[[Step], None] | None = None,
) -> OptimizeReport:
    """Minimise a smooth function of a vector, within bounds, from a start.

    Parameters
    ----------
    objective
        Value and gradient at a vector; a value that is infinite or NaN makes the step shorter.
    start : Tensor, shape (p,), float64
    lower, upper : Tensor, shape (p,)
        Infinite where there is no bound.
    max_iterations
    tolerance
        It ends where a step is expected to gain less, or has gained less twice in turn.
    inverse_hessian : Tensor, shape (p, p), symmetric positive definite
        What is known of the curvature beforehand; without it, steps begin short.
    memory
        Pairs of differences that are kept.
    callback
        Called after every iteration.

    Returns
    -------
    OptimizeReport
        Also where the user interrupts: the best that was seen is kept.

    Raises
    ------
    ArgumentError
        If the objective is not finite at the start.

    Examples
    --------
    >>> target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    >>> def distance(v):
    ...     return (v - target).square().sum().item(), 2 * (v - target)
    >>> minimize(distance, torch.zeros(2, dtype=torch.float64)).vector
    tensor([ 1., -2.], dtype=torch.float64)
    """
    begun = time.perf_counter()
    low = torch.full_like(start, -torch.inf) if lower is None else lower
    high = torch.full_like(start, torch.inf) if upper is None else upper
    search = _Search(objective, start.clamp(low, high), low, high)
    model = _Model(inverse_hessian, memory)
    history: list[Step] = []
    gain, small, interrupted = float("inf"), 0, False
    try:
        search.begin()
        for iteration in range(1, max_iterations + 1):
            before = search.value
            gain = search.advance(model, tolerance)
            history.append(
                Step(iteration, search.value, search.projected(), time.perf_counter() - begun)
            )
            if callback is not None:
                callback(history[-1])
            small = small + 1 if before - search.value <= tolerance else 0
            if gain <= tolerance or small == 2:
                gain = min(gain, tolerance)
                break
            if search.stuck:
                break
    except KeyboardInterrupt:
        interrupted = True
        if not torch.isfinite(torch.tensor(search.value)):
            raise  # not one evaluation was done: there is nothing to keep
    return OptimizeReport(
        search.best,
        search.best_value,
        search.projected(),
        len(history),
        search.evaluations,
        time.perf_counter() - begun,
        tolerance,
        gain if len(start) else 0.0,
        interrupted,
        history=tuple(history),
    )


class _Model:
    """The inverse Hessian: a matrix known beforehand, and pairs of differences."""

    def __init__(self, inverse_hessian: Tensor | None, memory: int) -> None:
        self.known = inverse_hessian
        self.pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)

    def add(self, step: Tensor, change: Tensor) -> None:
        # Only what has positive curvature keeps the matrix positive definite.
        if step @ change > 1e-10 * step.norm() * change.norm():
            self.pairs.append((step, change))

    def direction(self, gradient: Tensor, free: Tensor) -> Tensor:
        """``-H g`` on the free parameters, zero on the others."""
        pairs = [(s * free, y * free) for s, y in self.pairs]
        pairs = [(s, y) for s, y in pairs if s @ y > 1e-10 * s.norm() * y.norm()]
        q = gradient * free
        weights = []
        for s, y in reversed(pairs):
            weight = (s @ q) / (s @ y)
            weights.append(weight)
            q = q - weight * y
        if self.known is not None:
            q = _restricted(self.known, free) @ q
        elif pairs:
            s, y = pairs[-1]
            q = (s @ y) / (y @ y) * q
        for (s, y), weight in zip(pairs, reversed(weights), strict=True):
            q = q + (weight - (y @ q) / (s @ y)) * s
        return -q * free


def _restricted(inverse_hessian: Tensor, free: Tensor) -> Tensor:
    """The inverse of the Hessian's block of the free parameters, zero elsewhere."""
    if bool(free.all()):
        return inverse_hessian
    index = torch.meshgrid(*2 * [free.nonzero().flatten()], indexing="ij")
    found = torch.zeros_like(inverse_hessian)
    found[index] = torch.linalg.inv(torch.linalg.inv(inverse_hessian)[index])
    return found


class _Search:
    """Where the search stands, and how it takes a step."""

    def __init__(self, objective: Objective, start: Tensor, low: Tensor, high: Tensor) -> None:
        self._objective, self._low, self._high = objective, low, high
        self.x, self.value, self.gradient = start, float("inf"), torch.zeros_like(start)
        self.best, self.best_value = start, float("inf")
        self.evaluations, self.stuck = 0, False

    def begin(self) -> None:
        self.value, self.gradient = self._evaluate(self.x)
        if self.value == float("inf"):
            given = "a start at which it is not finite"
            raise ArgumentError("objective", given, "start from other hyperparameters")

    def _evaluate(self, x: Tensor) -> tuple[float, Tensor]:
        self.evaluations += 1
        value, gradient = self._objective(x)
        if value != value or not bool(gradient.isfinite().all()):
            value = float("inf")
        if value < self.best_value:
            self.best, self.best_value = x, value
        return value, gradient

    def free(self) -> Tensor:
        """1 for parameters that may move: those not pushed against a bound they are at."""
        held = (self.x <= self._low) & (self.gradient > 0)
        held |= (self.x >= self._high) & (self.gradient < 0)
        return (~held).double()

    def projected(self) -> float:
        entries = (self.gradient * self.free()).abs()
        return entries.max().item() if len(entries) else 0.0

    def advance(self, model: _Model, tolerance: float) -> float:
        """Take one step and return what it was expected to gain."""
        free = self.free()
        direction = model.direction(self.gradient, free)
        slope = (direction @ self.gradient).item()
        if slope >= 0 and model.pairs:
            model.pairs.clear()
            direction = model.direction(self.gradient, free)
            slope = (direction @ self.gradient).item()
        gain = -slope / 2
        longest = direction.abs().max().item() if len(direction) else 0.0
        informed = model.known is not None or bool(model.pairs)
        if longest == 0 or (informed and gain <= tolerance):
            return max(gain, 0.0)
        # Without a model the first step is one of a factor of e at most.
        scale = min(1.0, (_LONGEST_STEP if informed else 1.0) / longest)
        moved = self._line_search(direction, slope, scale)
        if moved is None:
            if not model.pairs and model.known is None:
                self.stuck = True
            model.pairs.clear()
            model.known = None
            return gain
        x, value, gradient = moved
        model.add(x - self.x, gradient - self.gradient)
        self.x, self.value, self.gradient = x, value, gradient
        return float("inf")

    def _line_search(
        self, direction: Tensor, slope: float, t: float
    ) -> tuple[Tensor, float, Tensor] | None:
        """A point with enough decrease along the projected direction; None if there is none."""
        shortest, longest = 0.0, float("inf")
        best: tuple[Tensor, float, Tensor] | None = None
        for _ in range(_TRIALS):
            x = (self.x + t * direction).clamp(self._low, self._high)
            value, gradient = self._evaluate(x)
            promised = (self.gradient @ (x - self.x)).item()
            noise = 1e-12 * abs(self.value)
            if value > self.value + _DECREASE * promised + noise:
                longest = t
                t = _interpolate(t, shortest, self.value, slope, value)
                continue
            if best is None or value < best[1]:
                best = (x, value, gradient)
            new_slope = (gradient @ direction).item()
            bounded = bool((x != self.x + t * direction).any())
            if new_slope >= _SLOPE * slope or bounded:
                return best
            shortest = t
            if longest < float("inf"):
                t = (shortest + longest) / 2
            elif t * direction.abs().max().item() * 2 > 2 * _LONGEST_STEP:
                return best
            else:
                t = 2 * t
        return best


def _interpolate(t: float, shortest: float, start: float, slope: float, value: float) -> float:
    """Where the parabola through the start, its slope and the value at t is lowest."""
    if value == float("inf"):
        return shortest + (t - shortest) / 4
    bend = value - start - slope * t
    lowest = -slope * t * t / (2 * bend) if bend > 0 else t / 2
    return min(max(lowest, shortest + 0.1 * (t - shortest)), shortest + 0.5 * (t - shortest))


def curvature(objective: Objective, x: Tensor, *, step: float = 1e-3) -> Tensor:
    """The Hessian at `x` by differences of gradients, made positive definite; shape (p, p).

    Relative to its diagonal: a parameter may be a million times as stiff as another. Directions
    of negative curvature get the size of it, flat ones some of the largest.
    """
    _, here = objective(x)
    rows = []
    for i in range(len(x)):
        moved = x.clone()
        moved[i] += step
        _, there = objective(moved)
        rows.append((there - here) / step)
    hessian = torch.stack(rows)
    if not bool(hessian.isfinite().all()):
        return torch.eye(len(x), dtype=x.dtype)
    hessian = (hessian + hessian.mT) / 2
    diagonal = hessian.diagonal().abs()
    scale = diagonal.clamp(min=1e-12 * max(diagonal.max().item(), 1e-300)).sqrt()
    values, vectors = torch.linalg.eigh(hessian / torch.outer(scale, scale))
    values = values.abs().clamp(min=1e-3 * max(values.abs().max().item(), 1e-300))
    return (vectors * values) @ vectors.mT * torch.outer(scale, scale)
