"""Every error and warning of the library, and the one form their messages take.

A message names the argument, says what was given and says what to do:
``noise: got -0.1; give a positive number.``
"""

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendWarning",
    "CheckpointError",
    "ConvergenceWarning",
    "JitterWarning",
    "LostRankError",
    "NotPositiveDefiniteError",
    "NumericalWarning",
]


class ArgumentError(ValueError):
    """An argument that cannot be used: its value, shape, dtype or device.

    Parameters
    ----------
    argument
        Its name, as the caller wrote it.
    given
        What arrived, with the figures that matter: a value, a shape, a dtype.
    remedy
        What to do about it, in the imperative.

    Examples
    --------
    >>> raise ArgumentError("noise", "-0.1", "give a positive number")
    Traceback (most recent call last):
        ...
    kernelgp.errors.ArgumentError: noise: got -0.1; give a positive number.
    """

    def __init__(self, argument: str, given: str, remedy: str) -> None:
        # All three go to `args`, or the error could not be pickled back from a joblib worker.
        super().__init__(argument, given, remedy)
        self.argument, self.given, self.remedy = argument, given, remedy

    def __str__(self) -> str:
        return f"{self.argument}: got {self.given}; {self.remedy}."


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of a type that cannot be used; a `TypeError` too."""


class NotPositiveDefiniteError(ArgumentError):
    """A matrix that should be positive definite and is not, jitter included."""


class CheckpointError(ArgumentError):
    """A file that cannot be read back: damaged, truncated or not one of ours."""


class LostRankError(ConnectionError):
    """Another process of a run over several is gone or does not answer.

    Parameters
    ----------
    ranks
        The global ranks that are missing.
    size
        How many processes there were.
    reason
        What the connection said.

    Examples
    --------
    >>> print(LostRankError("1", 4, "Connection closed by peer"))
    process_group: got no answer from rank 1 of 4 (Connection closed by peer); start the run again.
    """

    def __init__(self, ranks: str, size: int, reason: str) -> None:
        super().__init__(ranks, size, reason)
        self.ranks, self.size, self.reason = ranks, size, reason

    def __str__(self) -> str:
        missing = f"rank {self.ranks} of {self.size}"
        return f"process_group: got no answer from {missing} ({self.reason}); start the run again."


class NumericalWarning(UserWarning):
    """The answer stands but is not what was asked for; the message holds the figures."""


class ConvergenceWarning(NumericalWarning):
    """An iteration ended before it reached its tolerance."""


class JitterWarning(NumericalWarning):
    """A matrix was singular to working precision and jitter was added to its diagonal."""


class BackendWarning(UserWarning):
    """A backend is missing or failed, and another took over."""
