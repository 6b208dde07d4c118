import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.validation import check_finite, check_floating, check_positive, check_same


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_tensors_come_back_as_they_are(dtype):
    x = torch.ones(2, 3, dtype=dtype)
    assert check_floating("x", x) is x


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
)
def test_other_dtypes_are_refused_by_name(dtype):
    with pytest.raises(ArgumentError, match=rf"x1: got {dtype}; convert it to float32 or float64"):
        check_floating("x1", torch.ones(2).to(dtype))


@pytest.mark.parametrize("thing", [[1.0], np.ones(2), 1.0, None])
def test_what_is_no_tensor_is_a_type_error(thing):
    with pytest.raises(ArgumentTypeError, match=f"x1: got {type(thing).__name__}; give a torch"):
        check_floating("x1", thing)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_count_and_the_first_place_of_what_is_not_finite(bad):
    x = torch.zeros(3, 4)
    x[1, 2] = x[2, 0] = bad
    with pytest.raises(ArgumentError, match=r"y: got 2 of 12 entries not finite.*\(1, 2\); remove"):
        check_finite("y", x)


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(ArgumentError, match="2 of 2 entries"):
        check_finite("y", torch.tensor([math.inf, -math.inf]))


@pytest.mark.parametrize("x", [torch.zeros(0), torch.full((9,), 3e38), torch.ones(2, 2).mT])
def test_finite_tensors_pass_even_where_their_sum_overflows(x):
    assert check_finite("y", x) is x


def test_a_graph_survives_the_check():
    x = torch.ones(3, requires_grad=True)
    assert check_finite("x", x).requires_grad


def test_mixed_dtypes_are_refused_naming_both():
    with pytest.raises(
        ArgumentError, match=r"rhs: got torch\.float32; .* torch\.float64 to match op"
    ):
        check_same("rhs", torch.ones(2), "op", torch.ones(2, dtype=torch.float64))


def test_mixed_devices_are_refused_naming_both():
    elsewhere = torch.ones(2, device="meta")
    with pytest.raises(ArgumentError, match=r"x2: got device cpu; move it to meta to match x1"):
        check_same("x2", torch.ones(2), "x1", elsewhere)


def test_equal_dtype_and_device_pass():
    x = torch.ones(2)
    assert check_same("x", x, "y", torch.zeros(1)) is x


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_positive_number_keeps_every_digit(value):
    assert check_positive("noise", value).item() == value


def test_a_sequence_a_tensor_and_an_array_are_numbers():
    for value in ([0.5, 2], (0.5, 2), torch.tensor([0.5, 2.0]), np.array([0.5, 2.0])):
        checked = check_positive("lengthscale", value)
        assert checked.dtype == torch.float64
        assert checked.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, [1.0, -2.0], []])
def test_numbers_that_are_not_positive_are_refused_with_their_value(value):
    with pytest.raises(ArgumentError) as refused:
        check_positive("lengthscale", value)
    assert str(refused.value).startswith(f"lengthscale: got {value}; give")
    assert "positive, finite number" in str(refused.value)


def test_zero_passes_where_it_is_allowed():
    assert check_positive("noise", 0.0, zero=True).item() == 0.0
    with pytest.raises(ArgumentError, match="non-negative"):
        check_positive("noise", -1e-300, zero=True)


@pytest.mark.parametrize("value", ["a", None, 1j, True, [[1.0], [1.0, 2.0]]])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(ArgumentTypeError, match="outputscale: got"):
        check_positive("outputscale", value)


def test_a_gradient_reaches_a_tensor_that_was_checked():
    scale = torch.tensor(2.0, requires_grad=True)
    check_positive("outputscale", scale).square().backward()
    assert scale.grad == 4.0
