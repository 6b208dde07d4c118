"""Unknown parameters: what is to be found besides the solution."""

from collections.abc import Mapping, Sequence
from keyword import iskeyword
from numbers import Real
from typing import Any, Literal

import numpy as np

from kernelgp.errors import ArgumentError, ArgumentTypeError
from solvers.equation import Equation
from solvers.expression import RESERVED

__all__ = ["Unknown", "check_used", "read_unknown"]

#: The interval of a constant, or a field over the domain.
Unknown = tuple[float, float] | Literal["field"]


def read_unknown(unknown: Mapping[str, Any] | None) -> dict[str, Unknown]:
    """Hold ``{"c": (lower, upper), "a": "field"}`` against its form.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a name cannot stand in a formula, or a value is neither an interval nor "field".
    """
    if unknown is None:
        return {}
    if not isinstance(unknown, Mapping):
        remedy = "give a mapping such as {'c': (0.1, 5.0)}"
        raise ArgumentTypeError("unknown", repr(unknown), remedy)
    return {name: _checked(name, value) for name, value in unknown.items()}


def check_used(unknown: Mapping[str, Unknown], equations: Sequence[Equation]) -> None:
    """Raise where a parameter stands in none of the equations.

    Raises
    ------
    ArgumentError
    """
    present = {d.function for equation in equations for d in equation.unknowns.values()}
    for name in unknown:
        if name not in present:
            text = "; ".join(equation.text for equation in equations)
            given = f"{name!r}, which {text!r} does not hold"
            raise ArgumentError("unknown", given, "leave it out, or use it in the equation")


def _checked(name: Any, value: Any) -> Unknown:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name in RESERVED:
        remedy = "give a name that means nothing else in a formula"
        raise ArgumentError("unknown", repr(name), remedy)
    if isinstance(value, str) and value == "field":
        return "field"
    given, remedy = f"{name}: {value!r}", "give (lower, upper), the lower one first, or 'field'"
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
        raise ArgumentTypeError("unknown", given, remedy)
    if not all(isinstance(bound, Real) and not isinstance(bound, bool) for bound in value):
        raise ArgumentTypeError("unknown", given, remedy)
    lower, upper = float(value[0]), float(value[1])
    if not (np.isfinite(lower) and np.isfinite(upper) and lower < upper):
        raise ArgumentError("unknown", given, remedy)
    return lower, upper
