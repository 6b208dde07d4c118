"""Matrices with known spectra, and a kernel matrix that computes in the dtype of its points."""

import pytest
import torch


class TiledRBF:
    """``exp(-|x - x'|² / (2 l²))`` by row blocks, as a user might write it: no structure shown."""

    def __init__(self, x, lengthscale=0.35):
        self.x, self.lengthscale = x, lengthscale
        self.shape = torch.Size([len(x), len(x)])
        self.dtype, self.device = x.dtype, x.device

    def rows(self, index):
        z = (self.x - self.x.mean(dim=0)) / self.lengthscale
        norms = z.square().sum(dim=-1)
        sqdist = norms[index].unsqueeze(-1) + norms - 2 * z[index] @ z.mT
        return torch.exp(-sqdist.clamp(min=0.0) / 2)

    def matmul(self, rhs):
        blocks = torch.arange(len(self.x)).split(256)
        return torch.cat([self.rows(block) @ rhs for block in blocks], dim=-2)

    def diagonal(self):
        return torch.ones(len(self.x), dtype=self.dtype)

    def double(self):
        return TiledRBF(self.x.double(), self.lengthscale)


class Noisy:
    """``base + diag(noise)``, with the two names that `Shifted` asks for."""

    def __init__(self, base, noise):
        self.base, self.noise = base, torch.as_tensor(noise, dtype=base.dtype)
        self.shape, self.dtype, self.device = base.shape, base.dtype, base.device

    def rows(self, index):
        return self.base.rows(index) + torch.diag(self.noise.expand(self.shape[:-1]))[index]

    def matmul(self, rhs):
        return self.base.matmul(rhs) + self.noise.expand(self.shape[:-1]).unsqueeze(-1) * rhs

    def diagonal(self):
        return self.base.diagonal() + self.noise

    def double(self):
        return Noisy(self.base.double(), self.noise.double())


@pytest.fixture(scope="session")
def noisy_rbf():
    def build(n, *, d=4, lengthscale=0.35, noise=0.01, dtype=torch.float64, seed=0):
        g = torch.Generator().manual_seed(seed)
        x = torch.rand(n, d, generator=g, dtype=torch.float64).to(dtype)
        return Noisy(TiledRBF(x, lengthscale), noise)

    return build


@pytest.fixture(scope="session")
def spd():
    """A matrix with eigenvalues spread evenly in log from 1 to `condition`."""

    def build(*shape, condition, generator, dtype=torch.float64):
        noise = torch.randn(*shape, shape[-1], generator=generator, dtype=torch.float64)
        q, _ = torch.linalg.qr(noise)
        exponent = torch.tensor(float(condition)).log10()
        eigenvalues = torch.logspace(0, exponent, shape[-1], dtype=torch.float64)
        matrix = (q * eigenvalues) @ q.mT
        return ((matrix + matrix.mT) / 2).to(dtype)

    return build
