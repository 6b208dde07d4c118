"""What a user asks of a solution besides the equation: on faces, at the start, at sensors.

These are words only. `solvers.faces` turns those on faces into rows ``Σ weights[k] ∂ᵏu = value``
at one end of one axis, the one form that solvers know.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "Condition",
    "Dirichlet",
    "FaceCondition",
    "Initial",
    "Neumann",
    "Observations",
    "Periodic",
    "Robin",
]


class Condition:
    """Anything that a solution has to meet besides the equation."""

    def __repr__(self) -> str:
        shown, by_name = [], False
        for field in fields(self):  # pyright: ignore[reportArgumentType] - all are dataclasses
            value = getattr(self, field.name)
            if value is field.default:
                by_name = True
                continue
            by_name = by_name or field.name in ("on", "of", "noise")
            shown.append(f"{field.name}={_show(value)}" if by_name else _show(value))
        return f"{type(self).__name__}({', '.join(shown)})"


class FaceCondition(Condition):
    """``Σ weights[k] ∂ᵏu/∂axisᵏ = value`` on faces."""

    value: Any
    on: str | Sequence[str] | None
    of: str | None

    def weights(self, end: Literal[0, 1]) -> tuple[float, ...]:
        """The weights of u and its derivatives *along the axis* at its lower or upper end."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, repr=False)
class Dirichlet(FaceCondition):
    """The solution's values on faces: ``u = value``.

    Parameters
    ----------
    value : number, formula, callable, array or None
        A formula or callable is of all the axes, in order; an array holds the values at the
        grid's points on one face. None takes the values of the exact solution.
    on : str, sequence of str or None
        Faces such as ``"x-"`` and ``"x+"``; None is every face that is not periodic.
    of : str or None
        The unknown function's name, where there are several; None is each of them.

    Examples
    --------
    >>> Dirichlet("sin(x)*y"), Dirichlet(0, on=["x-", "x+"])
    (Dirichlet('sin(x)*y'), Dirichlet(0, on=['x-', 'x+']))
    """

    value: Any = None
    on: str | Sequence[str] | None = None
    of: str | None = None

    def weights(self, end: Literal[0, 1]) -> tuple[float, ...]:  # noqa: ARG002 - of every end
        return (1.0,)


@dataclass(frozen=True, eq=False, repr=False)
class Neumann(FaceCondition):
    """The slope on faces along the outward normal n: ``∂u/∂n = value``.

    Parameters
    ----------
    value, on, of
        As for `Dirichlet`; None as the value takes the slope of the exact solution.

    Examples
    --------
    >>> Neumann(0, on="x+").weights(1), Neumann(0, on="x-").weights(0)
    ((0.0, 1.0), (0.0, -1.0))
    """

    value: Any = None
    on: str | Sequence[str] | None = None
    of: str | None = None

    def weights(self, end: Literal[0, 1]) -> tuple[float, ...]:
        return (0.0, 2.0 * end - 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Robin(FaceCondition):
    """A mixture of both on faces: ``alpha u + beta ∂u/∂n = value``, n the outward normal.

    Parameters
    ----------
    alpha, beta : float
        Not both zero.
    value, on, of
        As for `Dirichlet`; None as the value takes the left side of the exact solution.

    Raises
    ------
    ArgumentError
        If a weight is no finite number, or both are zero.

    Examples
    --------
    >>> Robin(2, 0.5, "sin(y)", on="x-")
    Robin(2, 0.5, 'sin(y)', on='x-')
    """

    alpha: float
    beta: float
    value: Any = None
    on: str | Sequence[str] | None = None
    of: str | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            weight = getattr(self, name)
            if not isinstance(weight, Real) or isinstance(weight, bool):
                raise ArgumentTypeError(name, repr(weight), "give a number")
            if not np.isfinite(float(weight)):
                raise ArgumentError(name, repr(weight), "give a finite number")
        if self.alpha == 0 and self.beta == 0:
            raise ArgumentError("alpha", "0, and beta 0 too", "give a weight that is not zero")

    def weights(self, end: Literal[0, 1]) -> tuple[float, ...]:
        return (float(self.alpha), (2.0 * end - 1.0) * float(self.beta))


@dataclass(frozen=True, eq=False, repr=False)
class Initial(Condition):
    """What is known at the lower end of the axis `t`: ``u = value`` and ``∂u/∂t = velocity``.

    Parameters
    ----------
    value : number, formula, callable, array or None
        As for `Dirichlet`.
    velocity
        Likewise, for equations of second order in `t`. It is the plain derivative in time,
        not the one along the outward normal, which points into the past.
    of : str or None
        The unknown function's name, where there are several; None is each of them.

    Examples
    --------
    >>> Initial("sin(x)", velocity=0)
    Initial('sin(x)', 0)
    """

    value: Any = None
    velocity: Any = None
    of: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Periodic(Condition):
    """The solution and its derivatives agree at both ends of an axis.

    Parameters
    ----------
    axis : str

    Examples
    --------
    >>> Periodic("x")
    Periodic('x')
    """

    axis: str


@dataclass(frozen=True, eq=False, repr=False)
class Observations(Condition):
    """Values seen at points of the domain, with noise.

    Parameters
    ----------
    points : array or tensor, shape (m, d); also (m,) where d is 1
    values : array or tensor, shape (m,)
    noise : float or "learn"
        The variance of the noise, one for all of these values, in their unit squared.
    of : str or None
        The unknown function's name, where there are several.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If shapes do not match, values are missing or not real, or the noise is not positive.

    Examples
    --------
    >>> Observations([[0.1], [0.7]], [1.0, 2.0], noise=0.01)
    Observations(array of shape (2, 1), array of shape (2,), noise=0.01)
    """

    points: Any
    values: Any
    noise: float | Literal["learn"] = 1e-4
    of: str | None = None

    def __post_init__(self) -> None:
        points, values = _as_array("points", self.points), _as_array("values", self.values)
        if values.dtype.kind not in "fiu":
            raise ArgumentTypeError("values", f"{values.dtype} values", "give real numbers")
        if values.ndim != 1 or values.shape != points.shape[:1]:
            remedy = f"give one for each of the {len(points) if points.ndim else 0} points"
            raise ArgumentError("values", f"shape {values.shape}", remedy)
        bad = ~np.isfinite(values)
        if bad.any():
            given = f"{bad.sum()} of {bad.size} values missing, the first at row {bad.argmax()}"
            raise ArgumentError("values", given, "leave out these rows, in points too")
        # What the caller does to the arrays later is not to change the problem.
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "values", values.astype(np.float64))
        self._check_noise()

    def _check_noise(self) -> None:
        remedy = "give a positive variance, or 'learn'"
        if isinstance(self.noise, str):
            if self.noise != "learn":
                raise ArgumentError("noise", repr(self.noise), remedy)
            return
        if not isinstance(self.noise, Real) or isinstance(self.noise, bool):
            raise ArgumentTypeError("noise", repr(self.noise), remedy)
        if not (np.isfinite(float(self.noise)) and self.noise > 0):
            raise ArgumentError("noise", repr(self.noise), remedy)


def _as_array(name: str, value: Any) -> NDArray[Any]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        return np.array(value)
    except ValueError as error:
        remedy = "give an array of real numbers"
        raise ArgumentTypeError(name, type(value).__name__, remedy) from error


def _show(value: Any) -> str:
    shape = getattr(value, "shape", ())
    return f"array of shape {tuple(shape)}" if shape else repr(value)
