"""The search for the most probable grid values, kernel and precisions.

The search has two stages. U moves alone first: if the precisions moved with it from the
start, they would give up on the equation before U had time to satisfy it, since U = 0 with
``τ2 = 1 / |f|²`` is a local maximum. Then everything moves. Both stop on the misfit of source
and conditions, never on an exact solution.
"""

import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from kernelgp.errors import ConvergenceWarning
from kernelgp.progress import ProgressBar, progress_bar
from solvers.journal import SILENT, Journal
from solvers.map_objective import Evaluation, MapObjective
from solvers.map_optimizers import adam, lbfgs
from solvers.map_report import MapOptions, MapReport

__all__ = ["maximize"]

_ROUND = 100
# Between two records of the search.
_SECONDS = 2.0
# A round of the second stage that adds less than this part to the density is the last.
_STALLED = 1e-6
# From here through `solve_map` and three methods of `GPSolver` to the user's line.
_DOOR = 6


def maximize(
    objective: MapObjective,
    options: MapOptions,
    *,
    visible: bool | None = None,
    journal: Journal = SILENT,
) -> MapReport:
    """Move the parameters of `objective` to where its density is highest; they end at the best.

    Parameters
    ----------
    objective : MapObjective
    options : MapOptions
    visible
        Whether to show progress; None is on a terminal only.
    journal
        Where the best state is recorded every few seconds, and gone on from; an optimiser's
        memory of its last steps begins anew.

    Returns
    -------
    MapReport

    Warns
    -----
    ConvergenceWarning
        If the misfit ends above `rtol`, or the search was interrupted.
    """
    search = _Search(objective, options, journal)
    with progress_bar("map", total=options.iterations, visible=visible) as bar:
        search.bar = bar
        try:
            search.run()
        except KeyboardInterrupt:
            search.interrupted = True
    search.restore_best()
    search.write()
    report = search.report(search.best)
    if report.interrupted:
        message = f"interrupted; {report}: the best so far is kept."
        warnings.warn(message, ConvergenceWarning, stacklevel=_DOOR)
    elif not report.converged:
        remedy = "allow more iterations, a finer grid or other frequencies, or use method='direct'"
        warnings.warn(f"{report}; {remedy}.", ConvergenceWarning, stacklevel=_DOOR)
    return report


class _Done(Exception):  # noqa: N818 - a signal out of the optimiser's callback, not an error
    pass


class _Search:
    """Counts the steps, keeps the best state, and stops."""

    def __init__(self, objective: MapObjective, options: MapOptions, journal: Journal) -> None:
        self.objective, self.options, self.journal = objective, options, journal
        self.started, self.iterations, self.interrupted = time.perf_counter(), 0, False
        self.bar: ProgressBar | None = None
        self._all_move, self._ended, self._written = False, False, self.started
        self._read()
        with torch.no_grad():
            self._keep(objective.evaluate())

    def run(self) -> None:
        if self._ended:
            return
        latent, budget = [self.objective.latent], self.options.iterations
        if not self._all_move:
            first = max(budget // 2 - self.iterations, 1)
            self._optimize(latent, first, stop_at_rtol=True)
            self._all_move = True
        while self.iterations < budget:
            before = self.best.log_density.item()
            self.restore_best()
            self.objective.refresh_coordinates()
            moving = latent + self.objective.hyperparameters
            steps = _ROUND if self.options.optimizer == "L-BFGS" else budget
            self._optimize(moving, min(steps, budget - self.iterations), stop_at_rtol=False)
            gained = self.best.log_density.item() - before
            if gained < _STALLED * abs(before) or self.best.misfit <= self.options.rtol:
                break
        self._ended = True

    @torch.no_grad()
    def write(self) -> None:
        """Record where the best is, in coordinates that do not depend on how it was found."""
        self._written = time.perf_counter()
        best = zip(self._tensors[1:], self._values[1:], strict=True)
        state = {f"hyperparameter {i}": v.cpu().numpy() for i, (_, v) in enumerate(best)}
        whitened = self._coordinates.whitened(self._values[0]).cpu().numpy()
        counts = {"iterations": self.iterations, "moving": self._all_move, "ended": self._ended}
        self.journal.record("search", {"whitened": whitened, **state, **counts})

    @torch.no_grad()
    def _read(self) -> None:
        before = self.journal.recall("search")
        if before is None:
            return
        objective = self.objective
        for i, tensor in enumerate(objective.hyperparameters):
            tensor.copy_(torch.as_tensor(before[f"hyperparameter {i}"]))
        whitened = torch.as_tensor(before["whitened"]).to(objective.latent)
        objective.latent.copy_(objective.coordinates.latent(whitened))
        self.iterations = int(before["iterations"])
        self._all_move, self._ended = bool(before["moving"]), bool(before["ended"])

    def report(self, evaluation: Evaluation) -> MapReport:
        return MapReport(
            self.options.optimizer,
            self.iterations,
            evaluation.log_density.item(),
            evaluation.residual,
            evaluation.boundary,
            self.options.rtol,
            time.perf_counter() - self.started,
            self.interrupted,
        )

    @torch.no_grad()
    def restore_best(self) -> None:
        self.objective.coordinates = self._coordinates
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)

    @property
    def _tensors(self) -> list[Tensor]:
        return [self.objective.latent, *self.objective.hyperparameters]

    def _keep(self, evaluation: Evaluation) -> None:
        self.best, self._coordinates = evaluation, self.objective.coordinates
        self._values = [tensor.detach().clone() for tensor in self._tensors]

    def _step(self, evaluation: Evaluation, *, stop_at_rtol: bool) -> None:
        """Called after every step, with what the density is there."""
        self.iterations += 1
        if evaluation.log_density > self.best.log_density:
            self._keep(evaluation)
        if time.perf_counter() - self._written > _SECONDS:
            self.write()
        if self.bar is not None:
            self.bar.advance(residual=evaluation.residual, boundary=evaluation.boundary)
        if self.options.callback is not None:
            self.options.callback(self.report(evaluation))
        if stop_at_rtol and evaluation.misfit <= self.options.rtol:
            raise _Done

    def _optimize(self, moving: Sequence[Tensor], steps: int, *, stop_at_rtol: bool) -> None:
        # While U moves alone the kernels stay, and so do their factors.
        with torch.no_grad():
            fixed = self.objective.factors() if len(moving) == 1 else None

        def evaluate() -> tuple[Evaluation, list[Tensor]]:
            evaluation = self.objective.evaluate(fixed)
            gradient = torch.autograd.grad(-evaluation.log_density, moving)
            # What is kept must not hold a graph.
            return replace(evaluation, log_density=evaluation.log_density.detach()), list(gradient)

        def step(evaluation: Evaluation) -> None:
            self._step(evaluation, stop_at_rtol=stop_at_rtol)

        method = lbfgs if self.options.optimizer == "L-BFGS" else adam
        with suppress(_Done):
            method(moving, self._upper_bounds(moving), evaluate, step, steps)

    def _upper_bounds(self, moving: Sequence[Tensor]) -> list[Tensor | None]:
        objective = self.objective
        return [
            objective.precision_bound if p is objective.log_precisions else None for p in moving
        ]
