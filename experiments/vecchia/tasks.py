"""Every task of `python -m experiments.vecchia`."""

from collections.abc import Sequence
from functools import partial

from experiments.harness import Method, Options, Task
from experiments.vecchia.data import SIMULATIONS, read_table, score, simulate, simulate_plane
from experiments.vecchia.methods import fit_ours, methods

__all__ = ["NONZEROS", "tasks"]

NONZEROS = "sim 1, parameters known, by neighbors"
_LIKELIHOODS = ("gaussian", "student_t", "bernoulli")
_TABLES = ("elevators", "bike", "keggdirected", "kin40k", "protein")


def tasks(options: Options) -> Sequence[Task]:
    """The quick ones first."""
    return [
        _by_neighbors(options),
        *_planes(options),
        *_simulations(options),
        *_tables(options),
    ]


def _by_neighbors(options: Options) -> Task:
    """The error of the response by how many entries a column of the factor has."""
    share = 0.2 if options.quick else 1.0
    nearest = {f"{m} nearest": {"m": m} for m in (5, 10, 20, 30, 60)}
    balls = {f"balls of {rho:g}": {"pattern": "rho", "rho": rho} for rho in (1.0, 1.5, 2.0)}
    compared = tuple(
        Method(name, partial(fit_ours, level="latent", **given))
        for name, given in (nearest | balls).items()
    )
    make = partial(simulate, SIMULATIONS["sim 1"], "gaussian", share)
    return Task(NONZEROS, make, _score, compared, {"share": share}, 1)


def _planes(options: Options) -> list[Task]:
    """Fields on a square, one lengthscale."""
    n, seconds = (300, 1.0) if options.quick else (5000, 60.0)
    inducing = 64 if options.quick else 512
    return [
        Task(
            f"plane, {likelihood}",
            partial(simulate_plane, likelihood, n),
            _score,
            methods(seconds, isotropic=True, inducing=inducing),
            {"n": n, "gpytorch's seconds": seconds},
            1,
        )
        for likelihood in ("gaussian", "bernoulli", "poisson", "student_t")
    ]


def _simulations(options: Options) -> list[Task]:
    share, seconds = (0.05, 1.0) if options.quick else (1.0, 60.0)
    names = ("sim 2",) if options.quick else tuple(SIMULATIONS)
    inducing = 64 if options.quick else 512
    return [
        Task(
            f"{name}, {likelihood}",
            partial(simulate, SIMULATIONS[name], likelihood, share),
            _score,
            methods(seconds, inducing=inducing),
            {"share": share, "gpytorch's seconds": seconds},
            1,
        )
        for name in names
        for likelihood in _LIKELIHOODS
    ]


def _tables(options: Options) -> list[Task]:
    """None without the data."""
    if options.data is None or not (options.data / "uci").is_dir():
        return []
    n, q = (300, 200) if options.quick else (10_000, 4_000)
    seconds, inducing = (1.0, 64) if options.quick else (60.0, 512)
    names = ("elevators",) if options.quick else _TABLES
    return [
        Task(
            name,
            partial(read_table, options.data, name, n, q),
            _score,
            methods(seconds, inducing=inducing),
            {"train": n, "test": q, "gpytorch's seconds": seconds},
            1,
        )
        for name in names
    ]


def _score(rows: object, output: tuple) -> dict[str, float]:
    return score(rows, *output)  # pyright: ignore[reportArgumentType]
