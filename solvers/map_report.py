"""How a search for ``method="map"`` is to go, and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["MapOptions", "MapReport"]

Callback = Callable[["MapReport"], None]


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How to search.

    Parameters
    ----------
    optimizer
        ``"L-BFGS"``, or ``"Adam"`` with the paper's step of 0.01.
    max_iterations
        Bound on the steps of both stages together; None is 1 000 for L-BFGS and 20 000 for
        Adam. Half of them at most go to the first stage.
    rtol
        Misfit of source and conditions, relative to the data, at which a stage is done.
    callback
        Called after every step with a `MapReport`. An exception from it ends the search;
        `KeyboardInterrupt` keeps the best so far, as pressing Ctrl-C does.

    Raises
    ------
    ArgumentError
        If one of them cannot be used.

    Examples
    --------
    >>> MapOptions(optimizer="SGD")
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: optimizer: got 'SGD'; give 'L-BFGS' or 'Adam'.
    """

    optimizer: Literal["L-BFGS", "Adam"] = "L-BFGS"
    max_iterations: int | None = None
    rtol: float = 5e-4
    callback: Callback | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in ("L-BFGS", "Adam"):
            raise ArgumentError("optimizer", repr(self.optimizer), "give 'L-BFGS' or 'Adam'")
        count = self.max_iterations
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ArgumentError(
                "max_iterations", repr(count), "give a whole number from 1, or None"
            )
        if not 0 < self.rtol < 1:
            raise ArgumentError("rtol", repr(self.rtol), "give a number between 0 and 1")
        if self.callback is not None and not callable(self.callback):
            raise ArgumentTypeError("callback", repr(self.callback), "give a function or None")

    @property
    def iterations(self) -> int:
        default = 1_000 if self.optimizer == "L-BFGS" else 20_000
        return default if self.max_iterations is None else self.max_iterations


@dataclass(frozen=True, slots=True)
class MapReport:
    """Where the search stands, or ended.

    Attributes
    ----------
    log_density : float
        Up to a constant; it has no upper bound but that of the precisions.
    residual, boundary : float
        Root mean square misfits of source and conditions, relative to the data.
    """

    optimizer: str
    iterations: int
    log_density: float
    residual: float
    boundary: float
    rtol: float
    seconds: float
    interrupted: bool = False

    @property
    def converged(self) -> bool:
        return max(self.residual, self.boundary) <= self.rtol

    def __str__(self) -> str:
        return (
            f"{self.optimizer}: residual {self.residual:.1e}, boundary {self.boundary:.1e} "
            f"(asked: {self.rtol:.1e}) after {self.iterations} iterations, {self.seconds:.2f} s"
        )
