"""Estimators in files: what `kernelgp.storage` writes, and their state as `codec` puts it.

Nothing that is read is run: no pickle. An estimator is what its `__setstate__` makes of the
values, arrays and kernels in its file.
"""

from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator

import kernelgp
from kernelgp.errors import CheckpointError
from kernelgp.estimators.codec import Arrays, decode, encode
from kernelgp.storage import FileFormat, read_file, write_file

__all__ = ["SaveMixin", "load_estimator", "save_estimator"]

_FORMAT = FileFormat("kernelgp.estimator", "1", "the save of an estimator")


class SaveMixin:
    """`save` and `load` of an estimator."""

    def save(self, path: str | Path) -> Path:
        """Write parameters and everything learned to one file, atomically.

        The file is safetensors with a JSON header and a checksum, never a pickle. Predictions
        after `load` equal those before.

        Parameters
        ----------
        path
            Missing folders are made.

        Raises
        ------
        ArgumentError
            If a parameter cannot be written: a kernel or likelihood of a class of the user's.
        """
        return save_estimator(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote.

        What was learned on CUDA comes back on the CPU where there is no CUDA.

        Raises
        ------
        CheckpointError
            If the file is damaged (the message says "checksum"), truncated, foreign, or of
            another estimator.
        """
        found = load_estimator(path)
        if not isinstance(found, cls):
            name = type(found).__name__
            raise CheckpointError(str(path), f"a {name}", f"load it with {name}.load")
        return found


def save_estimator(estimator: Any, path: str | Path) -> Path:
    """Write any estimator of kernelgp; see `SaveMixin.save`."""
    arrays: Arrays = {}
    # An estimator whose posterior is large, and quickly computed again, leaves it out.
    own = getattr(estimator, "_file_state", estimator.__getstate__)()
    state = {name: encode(name, value, arrays) for name, value in own.items()}
    header = {
        "estimator": type(estimator).__name__,
        "kernelgp": kernelgp.__version__,
        "state": state,
    }
    return write_file(path, _FORMAT, header, arrays)


def load_estimator(path: str | Path) -> Any:
    """The estimator in a file, of whichever class it is; see `SaveMixin.load`."""
    header, arrays = read_file(path, _FORMAT)
    kind = getattr(kernelgp, header["estimator"], None)
    if not (isinstance(kind, type) and issubclass(kind, BaseEstimator)):
        remedy = f"this kernelgp {kernelgp.__version__} has none of that name"
        raise CheckpointError(str(path), f"a {header['estimator']}", remedy)
    try:
        state = {name: decode(value, arrays) for name, value in header["state"].items()}
        found = kind.__new__(kind)
        found.__setstate__(state)
    except (KeyError, TypeError, AttributeError) as error:
        given = f"a {kind.__name__} of kernelgp {header['kernelgp']} ({error!r})"
        remedy = f"this is kernelgp {kernelgp.__version__}: install the one that wrote it"
        raise CheckpointError(str(path), given, remedy) from error
    return found
