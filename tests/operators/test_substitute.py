"""`substitute` against the module it copies."""

import gpytorch
import pytest
import torch

from kernelgp.operators.substitute import substitute


@pytest.fixture
def kernel():
    return gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=2))


def doubled(module):
    return [2 * parameter.detach() + 1 for parameter in module.parameters()]


def test_the_copy_computes_with_the_tensors_given(kernel):
    tensors = doubled(kernel)
    copy = substitute(kernel, tensors)
    for (name, parameter), tensor in zip(copy.named_parameters(), tensors, strict=True):
        assert parameter is tensor, name
    expected = torch.nn.functional.softplus(tensors[0])
    torch.testing.assert_close(copy.outputscale, expected)


def test_the_original_is_untouched(kernel):
    before = {name: value.clone() for name, value in kernel.state_dict().items()}
    substitute(kernel, doubled(kernel)).base_kernel.raw_lengthscale.add_(1)
    for name, value in kernel.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(isinstance(p, torch.nn.Parameter) for p in kernel.parameters())


def test_gradients_reach_the_tensors_given(kernel):
    tensors = [tensor.requires_grad_() for tensor in doubled(kernel)]
    copy = substitute(kernel, tensors)
    (copy.outputscale + copy.base_kernel.lengthscale.sum()).backward()
    assert all((tensor.grad > 0).all() for tensor in tensors)
    assert all(parameter.grad is None for parameter in kernel.parameters())


def test_a_shared_parameter_stays_shared():
    shared = gpytorch.kernels.RBFKernel()
    total = shared + gpytorch.kernels.ScaleKernel(shared)
    copy = substitute(total, doubled(total))
    assert copy.kernels[0] is copy.kernels[1].base_kernel


def test_the_number_of_tensors_must_fit(kernel):
    with pytest.raises(ValueError, match="zip"):
        substitute(kernel, [])
