"""Tables, a series and a grid, from files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "read_co2", "read_elevation", "read_table", "score_gaussian"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Training and test rows; targets in their own units."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def read_table(folder: Path, name: str, n_train: int, n_test: int, seed: int) -> Rows:
    """Rows of a UCI table, drawn at random; constant columns are left out."""
    table = np.loadtxt(folder / "uci" / name / "data.csv.gz", delimiter=",")
    order = np.random.default_rng(seed).permutation(len(table))
    train, test = order[:n_train], order[n_train : n_train + n_test]
    x, y = table[:, :-1], table[:, -1]
    x = x[:, x[train].std(axis=0) > 0]
    return Rows(x[train], y[train], x[test], y[test])


def read_co2(folder: Path, split: float) -> Rows:
    """Monthly means of CO2 at Mauna Loa in parts per million against years; later ones to test."""
    lines = (folder / "series" / "mauna_loa_co2.csv").read_text(encoding="ascii").split()[1:]
    pairs = [line.split(",") for line in lines]
    seen = [(date, float(value)) for date, value in pairs if value]
    months = np.array([12 * int(date[:4]) + int(date[4:6]) - 1 for date, _ in seen])
    values = np.array([value for _, value in seen])
    each = np.unique(months)
    mean = np.array([values[months == month].mean() for month in each])
    years = ((each + 0.5) / 12)[:, None]
    early = years[:, 0] < split
    return Rows(years[early], mean[early], years[~early], mean[~early])


def read_elevation(folder: Path, size: int, missing: float, seed: int) -> tuple[Rows, NDArray]:
    """A square of an elevation model in metres with cells left out, and which are observed."""
    with np.load(folder / "grid" / "jacksboro_fault_dem.npz") as stored:
        elevation = stored["elevation"].astype(np.float64)
    step = min(elevation.shape) // size
    square = elevation[: size * step : step, : size * step : step]
    axis = np.linspace(0.0, 1.0, size)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    observed = np.random.default_rng(seed).uniform(size=size**2) >= missing
    y = square.ravel()
    return Rows(x[observed], y[observed], x[~observed], y[~observed]), observed


def score_gaussian(rows: Rows, mean: Array, std: Array) -> dict[str, float]:
    """Errors in units of the targets' deviation, and nats a row of standardised targets."""
    scale = rows.y.std()
    error, deviation = (rows.y_test - mean) / scale, std / scale
    nll = 0.5 * np.log(2 * np.pi * deviation**2) + 0.5 * (error / deviation) ** 2
    return {
        "RMSE": float(np.sqrt(np.mean(error**2))),
        "NLL": float(nll.mean()),
        "within 2 std": float(np.mean(np.abs(error) <= 2 * deviation)),
    }
