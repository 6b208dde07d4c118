"""The prior of a rough line: of the ladder's widths, the one under which the data are likeliest."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernelgp.errors import JitterWarning
from solvers.line_posterior import Functional, LinePosterior
from solvers.prior import LADDER
from solvers.problem import Problem
from solvers.resolution import Resolution, measure
from solvers.samples import Samples
from solvers.search import complain_if_unresolved

__all__ = ["LineAttempt", "search_line"]


@dataclass(frozen=True, slots=True, eq=False)
class LineAttempt:
    """A rough prior, conditioned, and how far its solution is resolved."""

    posterior: LinePosterior
    resolution: Resolution
    number: int


def search_line(
    problem: Problem, samples: Samples, tones: Sequence[float], *, seed: int = 0
) -> LineAttempt:
    """Condition every prior without a band on the data, and keep the likeliest.

    For rough priors the evidence chooses well; for Gaussian ones it prefers envelopes so
    narrow that the solution lies outside them.

    Warns
    -----
    JitterWarning
        If the covariance of the data was singular.
    ConvergenceWarning
        If the solution is not resolved.
    """
    (x,), ((lower, upper),) = samples.axes, problem.domain.bounds
    functionals = [
        Functional(np.array([face.coordinate]), {0: face.alpha, 1: (2 * face.end - 1) * face.beta})
        for face in samples.faces[0]
    ]
    operator = {term.orders[0]: term.coefficient for term in problem.operator.terms}
    functionals.append(Functional(x, operator))
    values = np.concatenate([*(np.atleast_1d(v) for v in samples.values[0]), samples.source])
    posteriors = [
        LinePosterior(
            shape.components(upper - lower, len(x), tones, most_lines=0), functionals, values
        )
        for shape in LADDER
        if not shape.band
    ]
    number = int(np.argmax([p.log_marginal_likelihood for p in posteriors]))
    best = posteriors[number]
    resolution = measure(problem, samples, best.mean_on_grid, np.random.default_rng(seed))
    if best.jitter:
        warnings.warn(
            f"solve: the data's covariance was singular; a jitter of {best.jitter:.0e} of its "
            "diagonal was added. Give fewer points.",
            JitterWarning,
            stacklevel=5,
        )
    complain_if_unresolved(problem, samples, resolution, smooth=False)
    return LineAttempt(best, resolution, number + 1)
