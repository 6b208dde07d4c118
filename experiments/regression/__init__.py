"""Exact Gaussian process regression against scikit-learn and gpytorch.

Tables of the UCI repository by RMSE and log density, a forecast of CO2, a grid with missing
cells, one marginal likelihood against its exact value, and two processes against one. Draws
forecast.png and tables.png.
"""
