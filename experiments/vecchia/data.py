"""Simulated processes, tables, maps and a series: what the methods are given and scored on."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.spatial.distance import cdist
from scipy.special import expit, ndtr

__all__ = [
    "SIMULATIONS",
    "Rows",
    "Simulation",
    "read_houses",
    "read_sunspots",
    "read_table",
    "score",
    "simulate",
    "simulate_plane",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows, and test rows with what is predicted there.

    Attributes
    ----------
    truth : (q,)
        The response at the test rows where it is Gaussian, else the latent function.
    lengthscale : (d,), optional
        The true one, where it is known and is not to be learned.
    """

    x: Array
    y: Array
    x_test: Array
    truth: Array
    likelihood: str = "gaussian"
    lengthscale: Array | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """One of the source's: uniform points of a cube, a covariance of unit variance."""

    n_train: int
    n_test: int
    kernel: str
    lengthscale: tuple[float, ...]
    nugget: float = 1e-4


SIMULATIONS = {
    "sim 1": Simulation(2000, 500, "matern", (0.25, 0.5, 0.75, 1.0, 1.25)),
    "sim 2": Simulation(8000, 2000, "matern", (0.25, 0.5, 0.75, 1.0, 1.25)),
    "sim 3": Simulation(8000, 2000, "matern", tuple(0.25 * k for k in range(1, 21))),
    "sim 4": Simulation(8000, 2000, "matern", tuple(0.25 * k for k in range(1, 51))),
    "sim 5": Simulation(8000, 2000, "quadratic", (0.25, 0.5, 0.75, 1.0, 1.25), 9e-4),
    "sim 6": Simulation(8000, 2000, "gauss", (0.125, 0.25, 0.375, 0.5, 0.625), 9e-4),
}


def simulate(case: Simulation, likelihood: str, share: float, seed: int) -> Rows:
    """A draw of the process at a share of the points; noise of variance 0.01, or as it is."""
    rng = np.random.default_rng(seed)
    n, q = int(share * case.n_train), int(share * case.n_test)
    scale = np.array(case.lengthscale)
    x = rng.uniform(size=(n + q, len(scale)))
    s = cdist(x / scale, x / scale, "sqeuclidean")
    match case.kernel:
        case "matern":
            r = np.sqrt(3 * s)
            K = (1 + r) * np.exp(-r)
        case "quadratic":
            K = 1 / np.sqrt(1 + s)
        case _:
            K = np.exp(-s / 2)
    K[np.diag_indices(n + q)] += case.nugget
    root = cholesky(K, lower=True, overwrite_a=True, check_finite=False)
    f = root @ rng.normal(size=n + q)
    known = scale if case is SIMULATIONS["sim 1"] else None
    return _respond(x, f, n, likelihood, rng, known)


def simulate_plane(likelihood: str, n: int, seed: int, lengthscale: float = 0.1) -> Rows:
    """A field on the unit square by random waves: a Matérn-3/2 process of unit variance."""
    rng = np.random.default_rng(seed)
    q = min(2000, n // 2)
    x = rng.uniform(size=(n + q, 2))
    # The spectrum of a Matérn-3/2 is Student's t of three degrees of freedom, in the plane.
    waves = rng.normal(size=(4000, 2)) / np.sqrt(rng.chisquare(3, (4000, 1)) / 3)
    phase = rng.uniform(0, 2 * np.pi, 4000)
    f = np.zeros(n + q)
    for part in np.array_split(np.arange(4000), 20):
        angles = x @ (waves[part].T / lengthscale) + phase[part]
        f += np.cos(angles).sum(axis=1)
    return _respond(x, np.sqrt(2 / 4000) * f, n, likelihood, rng, None, noise=0.1)


def _respond(
    x: Array,
    f: Array,
    n: int,
    likelihood: str,
    rng: np.random.Generator,
    lengthscale: Array | None,
    noise: float = 0.01,
) -> Rows:
    match likelihood:
        case "gaussian":
            y = f + np.sqrt(noise) * rng.normal(size=len(f))
        case "student_t":
            y = f + 0.1 * rng.standard_t(2, len(f))
        case "poisson":
            y = rng.poisson(np.exp(f)).astype(np.float64)
        case _:
            y = rng.binomial(1, expit(f)).astype(np.float64)
    truth = y[n:] if likelihood == "gaussian" else f[n:]
    return Rows(x[:n], y[:n], x[n:], truth, likelihood, lengthscale)


def read_table(folder: Path, name: str, n_train: int, n_test: int, seed: int) -> Rows:
    """Rows of a UCI table, inputs on [0, 1] and targets standardised; no constant columns."""
    table = np.loadtxt(folder / "uci" / name / "data.csv.gz", delimiter=",")
    order = np.random.default_rng(seed).permutation(len(table))[: n_train + n_test]
    x, y = table[order, :-1], table[order, -1]
    x = x[:, np.ptp(x[:n_train], axis=0) > 0]
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    y = (y - y[:n_train].mean()) / y[:n_train].std()
    return Rows(x[:n_train], y[:n_train], x[n_train:], y[n_train:])


def read_houses(folder: Path) -> tuple[Array, Array]:
    """Latitude and longitude of the tracts of California, and their median prices."""
    with (folder / "uci" / "california_housing.csv").open(encoding="utf-8") as file:
        rows = [
            (r["latitude"], r["longitude"], r["median_house_value"]) for r in csv.DictReader(file)
        ]
    table = np.array(rows, dtype=np.float64)
    return table[:, :2], table[:, 2]


def read_sunspots(folder: Path) -> tuple[Array, Array]:
    """Years, and sunspots in each: whole numbers."""
    path = folder / "series" / "sunspots.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, 0], np.round(table[:, 1])


def score(rows: Rows, mean: Array, std: Array) -> dict[str, float]:
    """Of normal predictions: errors, nats a row with the constant, CRPS, coverage."""
    z = (rows.truth - mean) / std
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    crps = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return {
        "RMSE": float(np.sqrt(np.mean((rows.truth - mean) ** 2))),
        "NLL": float(np.mean(0.5 * z**2 + np.log(std) + 0.5 * np.log(2 * np.pi))),
        "CRPS": float(crps.mean()),
        "within 95 %": float(np.mean(np.abs(z) < 1.96)),
    }
