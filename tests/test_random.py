import numpy as np
import pytest
import torch

from kernelgp.errors import ArgumentTypeError
from kernelgp.random import as_generator


def draw(random_state):
    return torch.rand(3, generator=as_generator(random_state)).tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: 7,
        lambda: np.int64(7),
        lambda: np.random.default_rng(7),
        lambda: np.random.RandomState(7),
        lambda: torch.Generator().manual_seed(7),
    ],
)
def test_the_same_state_draws_the_same_numbers(make):
    assert draw(make()) == draw(make())


def test_an_integer_draws_the_same_again_and_a_generator_goes_on():
    assert draw(7) == draw(7)
    for generator in (np.random.default_rng(7), torch.Generator().manual_seed(7)):
        assert draw(generator) != draw(generator)


def test_none_draws_anew():
    assert draw(None) != draw(None)


def test_different_seeds_draw_differently():
    assert draw(0) != draw(1)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(None), draw(1), draw(np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("state", ["seed", 1.5, True, [1]])
def test_anything_else_is_refused(state):
    with pytest.raises(ArgumentTypeError, match=r"random_state: got .*; give an int, a numpy Gen"):
        as_generator(state)
