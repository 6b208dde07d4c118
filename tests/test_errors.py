import inspect
import pickle
import warnings

import pytest

from kernelgp import errors
from kernelgp.errors import ArgumentError, ArgumentTypeError, NumericalWarning

CLASSES = [getattr(errors, name) for name in errors.__all__]
ERRORS = [cls for cls in CLASSES if issubclass(cls, ArgumentError)]


def test_everything_in_the_module_is_exported():
    defined = {n for n, c in inspect.getmembers(errors, inspect.isclass) if c in CLASSES}
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("cls", ERRORS)
def test_a_message_names_the_argument_what_was_given_and_the_remedy(cls):
    error = cls("noise", "-0.1", "give a positive number")
    assert str(error) == "noise: got -0.1; give a positive number."


@pytest.mark.parametrize("cls", ERRORS)
def test_an_error_survives_the_way_back_from_a_worker(cls):
    error = cls("x1", "shape (3,)", "give (n, d)")
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is cls
    assert (str(twin), twin.argument, twin.given) == (str(error), "x1", "shape (3,)")


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_is_a_value_error(cls):
    assert issubclass(cls, ValueError)


def test_a_wrong_type_is_a_type_error_too():
    assert issubclass(ArgumentTypeError, TypeError)


@pytest.mark.parametrize("cls", [c for c in CLASSES if issubclass(c, Warning)])
def test_warnings_can_be_filtered_by_class(cls):
    assert issubclass(cls, UserWarning)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore", NumericalWarning)
        warnings.simplefilter("always", errors.BackendWarning)
        warnings.warn("figures", cls, stacklevel=1)
    assert len(seen) == (not issubclass(cls, NumericalWarning))
