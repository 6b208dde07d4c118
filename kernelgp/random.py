"""One door for randomness: whatever the user gives becomes a torch generator."""

import numpy as np
import torch

from kernelgp.errors import ArgumentTypeError

__all__ = ["RandomState", "as_generator"]

RandomState = (
    int | np.integer | np.random.Generator | np.random.RandomState | torch.Generator | None
)


def as_generator(random_state: RandomState) -> torch.Generator:
    """A torch generator on the CPU.

    Parameters
    ----------
    random_state : int, numpy Generator or RandomState, torch Generator, or None
        None seeds from the operating system. A torch generator is used as it is, so that
        its state advances; a numpy one is drawn from once, for a seed.

    Raises
    ------
    ArgumentTypeError
        If it is none of these.

    Examples
    --------
    >>> torch.rand(1, generator=as_generator(0)) == torch.rand(1, generator=as_generator(0))
    tensor([True])
    """
    if isinstance(random_state, torch.Generator):
        return random_state
    generator = torch.Generator()
    if random_state is None:
        generator.seed()
    elif isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        generator.manual_seed(int(random_state))
    elif isinstance(random_state, np.random.Generator):
        generator.manual_seed(int(random_state.integers(2**63)))
    elif isinstance(random_state, np.random.RandomState):
        generator.manual_seed(int(random_state.randint(2**31)))
    else:
        remedy = "give an int, a numpy Generator or RandomState, a torch Generator or None"
        raise ArgumentTypeError("random_state", repr(random_state), remedy)
    return generator
