"""
Random features
===============

A kernel as an inner product of features: how its error falls, and a regression on 20 000 rows;
writes features.png.
"""

import numpy as np
import torch

from kernelgp import FeatureGPRegressor, FourierFeatures
from kernelgp.kernels import RBF
from kernelgp.plotting import grid_of_axes, save

rng = np.random.default_rng(0)
X = rng.normal(size=(400, 16))
kernel = RBF(lengthscale=4.0)
exact = kernel(torch.as_tensor(X)).to_dense().detach().numpy()

figure, axes = grid_of_axes(width=5, height=3.2)
sizes = [64, 256, 1024, 4096]
for coupling in ("iid", "orthogonal", "sobol"):
    errors = []
    for n in sizes:
        features = FourierFeatures(kernel, n, coupling=coupling, random_state=0)
        Z = features.fit_transform(X)
        errors.append(np.linalg.norm(Z @ Z.T - exact) / np.linalg.norm(exact))
    axes[0, 0].plot(sizes, errors, "o-", label=coupling)
    print(f"{coupling}: {', '.join(f'{e:.3f}' for e in errors)}")
axes[0, 0].set(xscale="log", yscale="log", xlabel="features", ylabel="relative error of the kernel")
axes[0, 0].legend(frameon=False)
save(figure, "features.png")

# %%
# A Gaussian process on 256 features: one pass over the rows for each evaluation, whatever n.
X = rng.uniform(size=(20_000, 4))
y = np.sin(6 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.2 * rng.normal(size=20_000)
X_new = rng.uniform(size=(1000, 4))
truth = np.sin(6 * X_new[:, 0]) + X_new[:, 1] * X_new[:, 2]
gp = FeatureGPRegressor(n_components=256, random_state=0).fit(X, y)
mean, std = gp.predict(X_new, return_std=True)
print(f"RMSE {np.sqrt(np.mean((mean - truth) ** 2)):.4f}, deviation of a response {std.mean():.3f}")
