"""Graph features: errors of the published figure, speed, and Gaussian processes on three graphs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.semi_supervised import LabelSpreading

from experiments.harness import Method, Options, Task
from kernelgp import GPClassifier, GPRegressor, GraphFeatures
from kernelgp.kernels import Linear

__all__ = ["graph_tasks"]

COUPLINGS = ("iid", "antithetic", "repelling", "reinforced")
_FOLDER = "graph"


def graph_tasks(options: Options) -> list[Task]:
    """The published figure, speed, and what is in the folder ``graph`` of the data."""
    tasks = [_error_task(name, options) for name in ("ER 20", "ER 100", "tree 127", "ladder 100")]
    tasks += [_speed_task(options), _large_task(options)]
    folder = None if options.data is None else options.data / _FOLDER
    if folder is None or not folder.is_dir():
        return tasks
    tasks += [_citations(folder, name, options) for name in ("cora", "citeseer")]
    return [*tasks, _mesh(folder)]


def erdos_renyi(n: int, chance: float, seed: int) -> scipy.sparse.csr_array:
    """A random graph without loops."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(n, size=(2, rng.binomial(n * (n - 1) // 2, chance)))
    ends = ends[:, ends[0] != ends[1]]
    A = scipy.sparse.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(n, n)).tocsr()
    return scipy.sparse.csr_array(((A + A.T) > 0).astype(np.float64))


def named_graph(name: str, seed: int) -> scipy.sparse.csr_array:
    """The graphs of the published figure that need no files."""
    kind, size = name.split()
    n = int(size)
    if kind == "ER":
        return erdos_renyi(n, {20: 0.2, 100: 0.04}[n], seed)
    if kind == "tree":
        child = np.arange(1, n)
        pairs = child, (child - 1) // 2
    else:
        rungs, half = np.arange(n // 2), n // 2
        along = (
            np.concatenate([rungs[:-1], rungs[:-1] + half]),
            np.concatenate([rungs[1:], rungs[1:] + half]),
        )
        pairs = np.concatenate([along[0], rungs]), np.concatenate([along[1], rungs + half])
    A = scipy.sparse.coo_array((np.ones(len(pairs[0])), pairs), shape=(n, n)).tocsr()
    return scipy.sparse.csr_array(A + A.T)


def _error_task(name: str, options: Options) -> Task:
    """Relative Frobenius error of (I + σ² L)^-2, σ = 0.1, stopping with 1/2, over the walks."""
    walks, repeats = (2, 4, 8, 16), 20 if options.quick else 100

    def prepare(A: Any, coupling: str) -> Callable[[], dict[str, float]]:
        settings: dict[str, Any] = {"power": 2, "sigma2": 0.01, "stop_probability": 0.5}
        K = GraphFeatures(**settings).exact(A).to_dense().numpy()

        def run() -> dict[str, float]:
            errors = {}
            for m in walks:
                found = []
                for seed in range(repeats):
                    made = GraphFeatures(
                        n_walks=m, coupling=coupling, random_state=seed, **settings
                    )
                    phi = made.fit_transform(A)
                    found.append(np.linalg.norm((phi @ phi.T).toarray() - K) / np.linalg.norm(K))
                errors[f"error at {m}"] = float(np.mean(found))
            slope = np.polyfit(np.log(walks), np.log(list(errors.values())), 1)[0]
            return {**errors, "slope": float(slope)}

        return run

    return Task(
        f"graph kernel error, {name}",
        partial(named_graph, name),
        lambda _, output: output,
        [Method(c, partial(prepare, coupling=c)) for c in COUPLINGS],
        {"repeats": repeats},
        repeats=1,
    )


def _speed_task(options: Options) -> Task:
    """Walks a second on a random graph of degree 10, and how many features a node has."""
    n, m = (20_000 if options.quick else 100_000), 32

    def prepare(A: Any, coupling: str) -> Callable[[], Any]:
        made = GraphFeatures(
            power=2,
            sigma2=1 / 3,
            n_walks=m,
            stop_probability=0.5,
            coupling=coupling,
            random_state=0,
        ).fit(A)
        return lambda: made.transform(A)

    def score(_: Any, phi: Any) -> Mapping[str, float]:
        return {"entries a node": phi.nnz / n, "MB": phi.data.nbytes * 1.5e-6}

    return Task(
        "graph walks",
        lambda seed: erdos_renyi(n, 10 / n, seed),
        score,
        [Method(c, partial(prepare, coupling=c)) for c in COUPLINGS],
        {"nodes": n, "walks": n * m},
        repeats=1 if options.quick else 3,
    )


def _large_task(options: Options) -> Task:
    """Error in 200 columns on a graph of degree 10 against the inverse, dense and exact."""
    n = 2_000 if options.quick else 10_000
    settings: dict[str, Any] = {"power": 2, "sigma2": 1 / 3}
    columns = np.random.default_rng(0).choice(n, 200, replace=False)

    def walks(A: Any, coupling: str) -> Callable[[], Any]:
        made = GraphFeatures(
            n_walks=100, stop_probability=0.5, coupling=coupling, random_state=0, **settings
        ).fit(A)

        def run() -> Any:
            phi = made.transform(A)
            return phi, (phi @ phi[columns].T).toarray()

        return run

    def dense(A: Any) -> Callable[[], Any]:
        root = np.sqrt(np.maximum(A.sum(axis=0), 1e-300))
        L = np.eye(n) - (A / root).toarray() / root[:, None]

        def run() -> Any:
            inverse = np.linalg.inv(np.eye(n) + settings["sigma2"] * L)
            return None, inverse @ inverse[:, columns]

        return run

    def operator(A: Any) -> Callable[[], Any]:
        units = np.zeros((n, len(columns)))
        units[columns, np.arange(len(columns))] = 1
        made = GraphFeatures(**settings).exact(A)
        return lambda: (None, made._product(units))

    def score(A: Any, output: Any) -> Mapping[str, float]:
        K = operator(A)()[1]
        return {"error": float(np.linalg.norm(output[1] - K) / np.linalg.norm(K))}

    methods = [Method(f"walks, {c}", partial(walks, coupling=c)) for c in COUPLINGS]
    methods += [Method("200 columns by the exact operator", operator)]
    methods += [Method("dense inverse", dense)]
    return Task(
        "graph kernel, large",
        lambda seed: erdos_renyi(n, 10 / n, seed),
        score,
        methods,
        {"nodes": n, "walks a node": 100},
        repeats=1,
    )


@dataclass(frozen=True, slots=True)
class Nodes:
    """A graph, what is to be said of its nodes, and where that is known."""

    A: scipy.sparse.csr_array
    y: NDArray[Any]
    train: NDArray[np.int64]
    test: NDArray[np.int64]


_GRAPH: dict[str, Any] = {
    "n_walks": 200,
    "stop_probability": 0.03,
    "coupling": "repelling",
    "random_state": 0,
}


def _citations(folder: Path, name: str, options: Options) -> Task:
    """Classes of documents from links alone, twenty of each class known."""

    def make(seed: int) -> Nodes:
        data = np.load(folder / f"{name}.npz")
        parts = data["adj_data"], data["adj_indices"], data["adj_indptr"]
        A = scipy.sparse.csr_array(parts, shape=tuple(data["adj_shape"])).astype(np.float64)
        A = scipy.sparse.csr_array(A.maximum(A.T))
        rng = np.random.default_rng(seed)
        y = data["labels"].astype(np.int64)
        train = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:20] for c in np.unique(y)])
        rest = rng.permutation(np.setdiff1d(np.arange(len(y)), train))
        return Nodes(A, y, train, rest[: 300 if options.quick else 1_000])

    return Task(
        f"classes on {name}",
        make,
        _classification_figures,
        (
            Method("diffusion, walks", _classify),
            Method("diffusion, exact", _classify_exactly),
            Method("scikit-learn LabelSpreading", _spread),
        ),
        {"known of a class": 20},
        repeats=1,
    )


def _classify(nodes: Nodes) -> Callable[[], NDArray[Any]]:
    def rows(sigma2: float) -> NDArray[Any]:
        made = GraphFeatures("diffusion", sigma2=sigma2, **_GRAPH).fit_transform(nodes.A)
        return made[np.concatenate([nodes.train, nodes.test])].toarray()

    return lambda: _best_classifier(nodes, rows)


def _classify_exactly(nodes: Nodes) -> Callable[[], NDArray[Any]]:
    def rows(sigma2: float) -> NDArray[Any]:
        # A root of the kernel is the kernel of half the time.
        root = GraphFeatures("diffusion", sigma2=sigma2 / 2).exact(nodes.A)
        return root.rows(torch.from_numpy(np.concatenate([nodes.train, nodes.test]))).numpy()

    return lambda: _best_classifier(nodes, rows)


_TIMES = (60.0, 200.0)


def _best_classifier(nodes: Nodes, rows: Callable[[float], NDArray[Any]]) -> NDArray[Any]:
    """Probabilities by the time of diffusion that the evidence prefers; of correlations."""
    best, found, known = -np.inf, np.empty(0), len(nodes.train)
    for sigma2 in _TIMES:
        phi = rows(sigma2)
        phi = phi / np.linalg.norm(phi, axis=1, keepdims=True)
        model = GPClassifier(
            30.0 * Linear(), mean="zero", normalize_x=False, n_restarts=0, random_state=0
        )
        model.fit(phi[:known], nodes.y[nodes.train])
        if model.log_marginal_likelihood_value_ > best:
            best = model.log_marginal_likelihood_value_
            found = model.predict_proba(phi[known:])
    return found


def _spread(nodes: Nodes) -> Callable[[], NDArray[Any]]:
    def run() -> NDArray[Any]:
        labels = np.full(len(nodes.y), -1)
        labels[nodes.train] = nodes.y[nodes.train]
        A = nodes.A.toarray()
        whole: Any = lambda *_: A  # noqa: E731 # its kernel is a function of points
        model = LabelSpreading(kernel=whole, alpha=0.9, max_iter=300, tol=1e-3)
        model.fit(np.arange(len(A))[:, None], labels)
        found = np.nan_to_num(model.label_distributions_[nodes.test])
        share = found.sum(axis=1, keepdims=True)
        found = np.where(share > 0, found / np.where(share > 0, share, 1), 1 / found.shape[1])
        return found / found.sum(axis=1, keepdims=True)

    return run


def _classification_figures(nodes: Nodes, p: NDArray[Any]) -> Mapping[str, float]:
    truth = nodes.y[nodes.test]
    labels = np.arange(p.shape[1])
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    place = np.minimum((10 * sure).astype(int), 9)
    gaps = [
        (place == b).mean() * abs(sure[place == b].mean() - right[place == b].mean())
        for b in np.unique(place)
    ]
    return {
        "accuracy": float(right.mean()),
        "log loss": float(log_loss(truth, p, labels=labels)),
        "calibration error": float(sum(gaps)),
    }


def _mesh(folder: Path) -> Task:
    """A function on the vertices of a mesh, known at one in ten with noise."""

    def make(seed: int) -> Nodes:
        points, ends = _read_mesh(folder / "spot.obj")
        n = len(points)
        length = np.linalg.norm(points[ends[0]] - points[ends[1]], axis=1)
        weights = length.mean() / np.maximum(length, 1e-12)
        A = scipy.sparse.coo_array((weights, tuple(ends)), shape=(n, n)).tocsr()
        rng = np.random.default_rng(seed)
        wave = np.sin(4 * points[:, 0]) + np.cos(3 * points[:, 1] + 2 * points[:, 2])
        y = wave + 0.1 * rng.normal(size=n)
        order = rng.permutation(n)
        known = n // 10
        return Nodes(scipy.sparse.csr_array(A.maximum(A.T)), y, order[:known], order[known:])

    return Task(
        "a function on a mesh",
        make,
        _regression_figures,
        (
            Method("diffusion, walks", partial(_regress, kernel="diffusion", sigma2=30.0)),
            Method("learned, walks", partial(_regress, kernel="learnable", sigma2=8.0)),
            Method("diffusion, exact", partial(_regress_exactly, sigma2=30.0)),
        ),
        {"known": "one in ten"},
        repeats=1,
    )


def _read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices, and the ends of edges, (2, edges)."""
    points, edges = [], set()
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *cells = line.split() or [""]
        if kind == "v":
            points.append([float(cell) for cell in cells[:3]])
        elif kind == "f":
            corners = [int(cell.split("/")[0]) - 1 for cell in cells]
            for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
                edges.add((min(a, b), max(a, b)))
    return np.array(points), np.array(sorted(edges)).T


def _regress(nodes: Nodes, kernel: str, sigma2: float) -> Callable[[], Any]:
    def run() -> Any:
        centred = np.full(len(nodes.y), np.nan)
        centred[nodes.train] = nodes.y[nodes.train] - nodes.y[nodes.train].mean()
        phi = GraphFeatures(kernel, sigma2=sigma2, **_GRAPH).fit(nodes.A, centred)
        found = phi.transform(nodes.A)
        return _by_regression(found[nodes.train].toarray(), nodes, found[nodes.test].toarray())

    return run


def _regress_exactly(nodes: Nodes, sigma2: float) -> Callable[[], Any]:
    def run() -> Any:
        root = GraphFeatures("diffusion", sigma2=sigma2 / 2).exact(nodes.A).to_dense().numpy()
        return _by_regression(root[nodes.train], nodes, root[nodes.test])

    return run


def _by_regression(train: NDArray[Any], nodes: Nodes, test: NDArray[Any]) -> Any:
    scale = 1 / np.sqrt(np.mean(np.sum(train**2, axis=1)))
    model = GPRegressor(1.0 * Linear(), normalize_x=False, random_state=0)
    model.fit(scale * train, nodes.y[nodes.train])
    return model.predict(scale * test, return_std=True)


def _regression_figures(nodes: Nodes, output: Any) -> Mapping[str, float]:
    mean, std = output
    error = mean - nodes.y[nodes.test]
    nlpd = 0.5 * np.log(2 * np.pi * std**2) + 0.5 * (error / std) ** 2
    return {
        "RMSE": float(np.sqrt(np.mean(error**2))),
        "within 2 std": float(np.mean(np.abs(error) < 2 * std)),
        "NLL": float(np.mean(nlpd)),
    }
