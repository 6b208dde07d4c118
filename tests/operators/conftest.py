"""Kernels to try on every backend, and the matrix each should give, by the slowest way."""

import pytest
import torch

from kernelgp.kernels import (
    RBF,
    Constant,
    Linear,
    Matern,
    Periodic,
    Polynomial,
    RationalQuadratic,
    SpectralMixture,
    White,
)
from kernelgp.operators.expression import Leaf, Product, Scaled

KERNELS = {
    "rbf": lambda: RBF(lengthscale=[0.6, 0.9]),
    "matern12": lambda: Matern(nu=0.5, lengthscale=0.7),
    "matern32": lambda: Matern(nu=1.5, lengthscale=0.7),
    "matern52": lambda: Matern(nu=2.5, lengthscale=[0.6, 0.9]),
    "rational_quadratic": lambda: RationalQuadratic(alpha=0.8, lengthscale=0.7),
    "periodic": lambda: Periodic(period=1.3, lengthscale=0.7),
    "polynomial": lambda: Polynomial(degree=3, offset=0.7),
    "linear": Linear,
    "constant": lambda: 1.5 * Constant(),
    "white": lambda: RBF(lengthscale=0.8) + White(noise=0.3),
    "one_column": lambda: RBF(lengthscale=0.5, active_dims=[1]),
    "tree": lambda: 2.0 * RBF(lengthscale=0.7) * Matern(nu=1.5) + 0.5 * Linear() * RBF() + White(),
    "spectral_mixture": lambda: SpectralMixture(
        frequencies=[[0.3, 0.7], [1.1, 0.2]],
        lengthscales=[[1.0, 1.2], [0.8, 0.9]],
        weights=[0.6, 0.4],
    ),
}


@pytest.fixture(params=KERNELS)
def kernel(request):
    return KERNELS[request.param]()


@pytest.fixture(scope="session")
def dense():
    """The oracle: every pair of points by differences, in float64, with autograd."""
    return _matrix


def _matrix(op):
    identity = torch.zeros(op.shape[-2:], dtype=torch.float64)
    if op.is_symmetric:
        identity = torch.eye(op.shape[-1], dtype=torch.float64)
    return _dense(op.kernel.expression(), op.x1.double(), op.x2.double(), identity)


def _dense(node, x1, x2, identity):
    if isinstance(node, Leaf):
        if node.active_dims is not None:
            x1, x2 = (x[..., list(node.active_dims)] for x in (x1, x2))
        z1, z2 = (node.profile.embed(x, *node.tensors) for x in (x1, x2))
        parameters = [p[..., None, None] for p in node.profile.parameters(*node.tensors)]
        s = {
            # No slope at distance zero of a point from itself: through a square root it is NaN.
            "sqdist": lambda: torch.where(identity > 0, 0.0, _sqdist(z1, z2)),
            "dot": lambda: z1 @ z2.mT,
            "constant": lambda: torch.ones_like(identity),
            "identity": lambda: identity,
        }[node.profile.pair]()
        return node.profile.value(s, *parameters)
    if isinstance(node, Scaled):
        return node.scale[..., None, None] * _dense(node.node, x1, x2, identity)
    parts = [_dense(child, x1, x2, identity) for child in node.nodes]
    total = parts[0]
    for part in parts[1:]:
        total = total * part if isinstance(node, Product) else total + part
    return total


def _sqdist(z1, z2):
    return (z1.unsqueeze(-2) - z2.unsqueeze(-3)).square().sum(dim=-1)
