"""Fixtures shared by every test."""

import pytest
import torch
from hypothesis import settings

# A deadline is a timing, and timings do not belong in tests.
settings.register_profile("kernelgp", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("kernelgp")

# Small tests side by side: threads inside each would only fight for the cores.
torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
