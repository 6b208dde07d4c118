"""
Counts on a map
===============

5 000 counts with different exposures, a latent Gaussian process behind them, and its map; writes
vecchia.png.
"""

import numpy as np

from kernelgp import DKLGPClassifier, DKLGPRegressor
from kernelgp.plotting import field, grid_of_axes, save


def log_rate(X):
    return 1 + np.sin(7 * X[:, 0]) * np.cos(5 * X[:, 1]) + X[:, 1]


rng = np.random.default_rng(0)
X = rng.uniform(size=(5000, 2))
exposure = rng.uniform(0.2, 2.0, size=5000)
counts = rng.poisson(exposure * np.exp(log_rate(X)))

model = DKLGPRegressor(likelihood="poisson", random_state=0).fit(X, counts, offset=np.log(exposure))
print(model.report_)
print(model.kernel_)

# %%
# The latent function on a grid, beside the truth, and how far off it may be.
axis = np.linspace(0, 1, 60)
grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
mean, std = model.predict(grid, latent=True, return_std=True)
covered = np.mean(np.abs(mean - log_rate(grid)) < 2 * std)
print(f"{covered:.0%} of the map within two deviations")
figure, axes = grid_of_axes(1, 3, width=3.4, height=2.8)
shape, box = (60, 60), (0.0, 1.0, 0.0, 1.0)
field(axes[0, 0], log_rate(grid).reshape(shape), box, label="log rate, true")
field(axes[0, 1], mean.reshape(shape), box, label="log rate, mean")
field(axes[0, 2], std.reshape(shape), box, scale="magnitude", label="deviation")
save(figure, "vecchia.png")

# %%
# Is a place above the median rate? Probabilities, from the counts alone.
labels = counts > np.median(counts)
probability = DKLGPClassifier(random_state=0).fit(X, labels).predict_proba(grid)[:, 1]
print(f"between {probability.min():.2f} and {probability.max():.2f}")
