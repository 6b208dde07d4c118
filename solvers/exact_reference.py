"""The reference code's own model with its hyperparameters as they start, solved exactly.

What the paper's code spends 1e5 to 3e6 steps of Adam on is, for a linear equation and a given
kernel, one linear system: the equation at the inner points of the grid, with derivatives
``D = K'' K⁻¹`` along each axis and the given values on the faces. In two dimensions it is a
Sylvester equation, O(n³). It shows how much of the published error is the model's and how much
the optimiser's: 1.0e-4 on P6 in seconds, where the paper reports 6.9e-5 after hours.

References
----------
S. Fang et al., *Solving High Frequency and Multi-Scale PDEs with Gaussian Processes*, ICLR 2024,
with its code: 30 components at ``linspace(0, 1, 30) * frequency_scale``, weights 1/30, envelopes
``exp(-d²)``, jitter 1e-6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError
from kernelgp.kernels import SpectralMixture
from solvers.needs import Need
from solvers.problem import Problem
from solvers.tensors import evaluate_at

__all__ = ["ExactReference", "solve_reference"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ExactReference:
    """The interpolant of the grid values found.

    Attributes
    ----------
    axes : tuple of ndarrays, shape (nk,)
    weights : ndarray, shape (n1, ..., nd)
        ``K1⁻¹ U K2⁻¹``.
    """

    kernel: SpectralMixture
    axes: tuple[Array, ...]
    weights: Array

    def mean(self, points: Array) -> Array:
        """At points of shape (m, d): shape (m,)."""
        cross = [
            _covariance(self.kernel, x, axis) for x, axis in zip(points.T, self.axes, strict=True)
        ]
        return evaluate_at(cross, self.weights)


def solve_reference(
    problem: Problem,
    grid: Sequence[int],
    *,
    frequency_scale: float,
    n_components: int = 30,
    jitter: float = 1e-6,
) -> ExactReference:
    """Solve the reference's model at fixed hyperparameters.

    Parameters
    ----------
    problem : Problem
        Conditions on all faces, values only, and no mixed derivatives.
    grid : sequence of int
        Points along each of one or two axes.
    frequency_scale
        The highest frequency, in cycles per unit; chosen by hand for each problem (20 to 100).
    n_components, jitter
        As in the reference's code by default.

    Raises
    ------
    ArgumentError
        If the problem is not of that form.

    Examples
    --------
    >>> from solvers import Box
    >>> problem = Problem.from_exact("u_xx = f", Box(x=(0, 1)), "sin(20*x)")
    >>> solution = solve_reference(problem, (60,), frequency_scale=10)
    >>> x = np.linspace(0, 1, 7)[:, None]
    >>> bool(np.abs(solution.mean(x) - np.sin(20 * x[:, 0])).max() < 1e-2)
    True
    """
    _check(problem)
    kernel = SpectralMixture(
        "gaussian",
        list(np.linspace(0, 1, n_components) * frequency_scale),
        1 / np.sqrt(2),
        [1 / n_components] * n_components,
    )
    axes = problem.domain.uniform_axes(grid)
    covariances = [_covariance(kernel, x, x) + jitter * np.eye(len(x)) for x in axes]
    operators = []
    for k, (x, covariance) in enumerate(zip(axes, covariances, strict=True)):
        along = {t.orders[k]: t.coefficient for t in problem.operator.terms if t.orders[k]}
        derivatives = np.zeros_like(covariance)
        for order, coefficient in along.items():
            derivatives += coefficient * _covariance(kernel, x, x, order)
        # D = K'' K⁻¹ from the right: Kᵀ Dᵀ = K''ᵀ.
        operators.append(scipy.linalg.solve(covariance, derivatives.T, assume_a="pos").T)
    constant = sum(t.coefficient for t in problem.operator.terms if not any(t.orders))
    operators[0] = operators[0] + constant * np.eye(len(axes[0]))

    u, source = _boundary_values(problem, axes), problem.source_on_grid(axes)
    residual = source - _apply(operators, u)
    inside = tuple(slice(1, -1) for _ in axes)
    inner = [operator[1:-1, 1:-1] for operator in operators]
    if len(axes) == 1:
        u[inside] = scipy.linalg.solve(inner[0], residual[inside])
    else:
        u[inside] = scipy.linalg.solve_sylvester(inner[0], inner[1].T, residual[inside])
    weights = u
    for k, covariance in enumerate(covariances):
        solved = scipy.linalg.solve(covariance, np.moveaxis(weights, k, 0), assume_a="pos")
        weights = np.moveaxis(solved, 0, k)
    return ExactReference(kernel, tuple(axes), np.ascontiguousarray(weights))


def _covariance(kernel: SpectralMixture, x1: Array, x2: Array, order: int = 0) -> Array:
    column1, column2 = (torch.tensor(x).unsqueeze(-1) for x in (x1, x2))
    return kernel.derivative(column1, column2, (order,), (0,)).detach().numpy()


def _apply(operators: Sequence[Array], u: Array) -> Array:
    if len(operators) == 1:
        return operators[0] @ u
    return operators[0] @ u + u @ operators[1].T


def _boundary_values(problem: Problem, axes: list[Array]) -> Array:
    """The given values on the faces, zero inside."""
    u = np.zeros([len(x) for x in axes])
    for face in problem.faces:
        index: list[slice | int] = [slice(None)] * len(axes)
        index[face.axis] = -face.end
        u[tuple(index)] = face.value_on_grid(axes[: face.axis] + axes[face.axis + 1 :])
    return u


def _check(problem: Problem) -> None:
    problem.require({Need.SLOPES}, "the reference")
    if problem.dimension > 2:
        raise ArgumentError("problem", f"{problem.dimension} axes", "give one of one or two axes")
    for term in problem.operator.terms:
        if sum(order > 0 for order in term.orders) > 1:
            remedy = "give an equation without mixed derivatives"
            raise ArgumentError("problem", f"a term of orders {term.orders}", remedy)
    given = {(face.axis, face.end) for face in problem.faces if face.beta == 0}
    if len(given) < 2 * problem.dimension:
        remedy = "give values on every face: the reference's code takes no others"
        raise ArgumentError("problem", f"values on {len(given)} faces", remedy)
