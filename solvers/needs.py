"""What a problem asks of a solver, and the one place where a solver says that it cannot."""

from collections.abc import Collection
from enum import StrEnum

from kernelgp.errors import ArgumentError

__all__ = ["Need", "check_needs"]


class Need(StrEnum):
    """Something that not every solver can do; its value is a phrase for messages."""

    SLOPES = "conditions on slopes"
    PERIODIC = "periodic axes"
    OBSERVATIONS = "observations"
    FREE_CONSTANT = "a free constant, as equation and conditions hold derivatives only"
    HIGH_ORDER = "derivatives of an order above two"
    VARIABLE = "variable coefficients"
    NONLINEAR = "nonlinear terms"
    SYSTEM = "several unknown functions"
    UNKNOWN = "unknown parameters"
    REGION = "a region inside the box"


def check_needs(needs: Collection[Need], supported: Collection[Need], solver: str) -> None:
    """Raise where a problem needs what a solver cannot do.

    Raises
    ------
    ArgumentError
        It names what is not supported, and what is besides the plain.

    Examples
    --------
    >>> check_needs([Need.SYSTEM], [Need.SLOPES], "ChebyshevSolver")
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: problem: got one with several unknown functions, which \
ChebyshevSolver does not solve; give a linear equation with constant coefficients and values on \
the faces, or conditions on slopes.
    """
    missing = [need for need in Need if need in needs and need not in supported]
    if missing:
        given = f"one with {' and '.join(missing)}, which {solver} does not solve"
        more = "".join(f", or {need}" for need in Need if need in supported)
        remedy = f"give a linear equation with constant coefficients and values on the faces{more}"
        raise ArgumentError("problem", given, remedy)
