"""
Regression
==========

A trend with seasons, outliers, a grid with gaps, two outputs; writes regression.png.
"""

import numpy as np

from kernelgp import GPRegressor, PredictionBandDisplay
from kernelgp.kernels import RBF, Matern, Periodic
from kernelgp.plotting import save

rng = np.random.default_rng(0)

# %%
# A series with a slow trend and seasons, forecast two years beyond its end.
months = np.arange(120)[:, None] / 12
trend = 3 + 0.4 * months[:, 0] + 0.5 * np.sin(1.5 * months[:, 0])
series = trend + np.sin(2 * np.pi * months[:, 0]) + 0.1 * rng.normal(size=120)
kernel = 1.0 * Matern(nu=2.5, lengthscale=2.0) + 1.0 * Periodic(period=1.0)
gp = GPRegressor(kernel, mean="linear", random_state=0).fit(months[:96], series[:96])
mean, std = gp.predict(months[96:], return_std=True)
inside = np.mean(abs(mean - series[96:]) < 2 * std)
print(gp.report_)
print(f"forecast: {inside:.0%} within two deviations, slope {gp.mean_[1]:.2f} a year")
display = PredictionBandDisplay.from_predictions(
    months[:, 0],
    *gp.predict(months, return_std=True),
    x_data=months[:, 0],
    y_data=series,
    feature_name="year",
    target_name="series",
)
save(display.figure_, "regression.png")

# %%
# Noise with heavy tails: Student-t noise does not follow what lies far off.
X = rng.uniform(0, 10, size=(100, 1))
y = np.sin(X[:, 0]) + 0.2 * rng.standard_t(2.5, size=100)
for likelihood in ("gaussian", "student_t"):
    found = GPRegressor(likelihood=likelihood, random_state=0).fit(X, y).predict(X)
    print(f"{likelihood}: off by {np.abs(found - np.sin(X[:, 0])).mean():.2f} on average")

# %%
# 2 500 cells of a grid, a fifth of them missing: a Kronecker product sees it through.
axes = np.linspace(0, 1, 50), np.linspace(0, 2, 50)
cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
field = np.sin(6 * cells[:, 0]) * np.cos(3 * cells[:, 1])
seen = rng.permutation(2500)[:2200]
noisy = field[seen] + 0.1 * rng.normal(size=2200)
gp = GPRegressor(1.0 * RBF([0.3, 0.5]), random_state=0).fit(cells[seen], noisy)
missing = np.setdiff1d(np.arange(2500), seen)
print(gp.report_.method, "off by", np.abs(gp.predict(cells[missing]) - field[missing]).mean())

# %%
# Two outputs, one of them seen at half the rows only: what they share fills the gap.
Y = np.stack([np.sin(X[:, 0]), 50 * np.sin(X[:, 0] + 0.2)], axis=-1)
Y += rng.normal(size=Y.shape) * [0.05, 2.0]
Y[X[:, 0] > 5, 1] = np.nan
for outputs in ("independent", "correlated"):
    found = GPRegressor(outputs=outputs, random_state=0).fit(X, Y).predict(X)[:, 1]
    print(f"{outputs}: off by {np.abs(found - 50 * np.sin(X[:, 0] + 0.2)).mean():.1f}")
