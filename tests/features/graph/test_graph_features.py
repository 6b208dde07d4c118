"""Graph features through their public names, against dense algebra."""

import copy
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.features.graph import GraphFeatures, GraphKernelOperator
from tests.features.graph.test_walks import random_graph

COUPLINGS = ["iid", "antithetic", "repelling", "reinforced"]


def dense_kernel(A, kernel="regularized_laplacian", power=1.0, sigma2=0.25):
    """From its definition, by matrix functions."""
    degree = A.sum(axis=1)
    scale = np.where(degree > 0, degree, np.inf) ** -0.5
    L = np.eye(len(A)) - scale[:, None] * A * scale
    if kernel == "diffusion":
        return scipy.linalg.expm(-sigma2 * L / 2)
    if kernel == "inverse_cosine":
        return scipy.linalg.cosm(np.pi * L / 4)
    return scipy.linalg.fractional_matrix_power(np.eye(len(A)) + sigma2 * L, -power)


KERNELS = [
    ("regularized_laplacian", 1, 0.25),
    ("regularized_laplacian", 2, 1.0),
    ("regularized_laplacian", 2.5, 0.5),
    ("diffusion", 1, 3.0),
    ("inverse_cosine", 1, 0.25),
]


@pytest.mark.parametrize(("kernel", "power", "sigma2"), KERNELS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_features_come_to_the_kernel(kernel, power, sigma2, coupling):
    A = random_graph(20, 0.3, 2, weighted=True)
    A[:, 7] = A[7] = 0  # isolated
    A[3, 3] = 2.0
    features = GraphFeatures(
        kernel, power=power, sigma2=sigma2, n_walks=4000, coupling=coupling, random_state=0
    )
    phi = features.fit_transform(scipy.sparse.csr_array(A))
    K = dense_kernel(A, kernel, power, sigma2)
    error = np.linalg.norm((phi @ phi.T).toarray() - K) / np.linalg.norm(K)
    assert error < 0.02
    assert np.isclose((phi @ phi.T).toarray()[7, 7], K[7, 7])


def test_the_published_errors_are_reached():
    """(I - U)^-2 with U = σ² / (1 + σ²) W, σ = 0.1, p = 0.5, sixteen walks."""

    def error(A, coupling, n_walks, repeats=100):
        K = dense_kernel(A, power=2, sigma2=0.01)
        options = {"power": 2, "sigma2": 0.01, "stop_probability": 0.5, "coupling": coupling}
        found = []
        for seed in range(repeats):
            features = GraphFeatures(n_walks=n_walks, random_state=seed, **options)
            phi = features.fit_transform(A)
            found.append(np.linalg.norm((phi @ phi.T).toarray() - K) / np.linalg.norm(K))
        return np.mean(found)

    sparse = random_graph(20, 0.2, 0)
    errors = [error(sparse, "iid", m) for m in (2, 4, 8, 16)]
    assert abs(errors[-1] - 0.0046) < 0.0005
    slope = np.polyfit(np.log([2, 4, 8, 16]), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.05
    tree = np.zeros((127, 127))
    child = np.arange(1, 127)
    tree[child, (child - 1) // 2] = tree[(child - 1) // 2, child] = 1
    assert abs(error(tree, "antithetic", 16, 30) - 0.0037) < 0.0004


def test_a_pair_has_no_bias_on_the_diagonal():
    A = random_graph(8, 0.5, 4)
    K = dense_kernel(A, sigma2=2.0)
    products, own = [], []
    for seed in range(1500):
        features = GraphFeatures(sigma2=2.0, n_walks=2, random_state=seed, coupling="iid")
        one, two = features.fit(A).transform_pair(A)
        products.append((one @ two.T).toarray())
        own.append((one @ one.T).toarray().diagonal())
    mean, error = np.mean(products, axis=0), np.std(products, axis=0) / 1500**0.5
    assert (np.abs(mean - K) < 4.5 * error).all()
    traces = np.sum(own, axis=1)
    assert traces.mean() > np.trace(K) + 4 * traces.std() / 1500**0.5


@pytest.mark.parametrize("method", ["chebyshev", "cg", "cholesky"])
@pytest.mark.parametrize(("kernel", "power", "sigma2"), KERNELS)
def test_the_exact_operator_is_the_kernel(method, kernel, power, sigma2):
    A = random_graph(30, 0.2, 6, weighted=True)
    A[4], A[:, 4] = 0, 0
    if method != "chebyshev" and (kernel != "regularized_laplacian" or power == 2.5):
        with pytest.raises(ArgumentError, match=f"method: got '{method}' for the kernel"):
            GraphKernelOperator.from_graph(A, kernel, power=power, sigma2=sigma2, method=method)
        return
    features = GraphFeatures(kernel, power=power, sigma2=sigma2)
    op, K = features.exact(A, method), torch.from_numpy(dense_kernel(A, kernel, power, sigma2))
    v = torch.randn(2, 30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(op @ v, K @ v, atol=1e-10)
    assert torch.allclose(op @ v[0, :, 0], K @ v[0, :, 0], atol=1e-10)
    assert torch.allclose(op.diagonal(), K.diagonal(), atol=1e-10)
    assert torch.allclose(op[3:6, :4].to_dense(), K[3:6, :4], atol=1e-10)
    assert torch.allclose(
        op.add_diagonal(torch.tensor(0.1).double()).logdet().double(),
        torch.logdet(K + 0.1 * torch.eye(30)),
        atol=1e-8,
    )


def test_the_exact_operator_multiplies_in_float32_and_passes_gradients_to_the_right_hand_side():
    A = random_graph(12, 0.4, 0).astype(np.float32)
    op = GraphFeatures(power=2).exact(A)
    assert op.dtype == torch.float32
    v = torch.randn(12, requires_grad=True)
    (op @ v).square().sum().backward()
    K = torch.from_numpy(dense_kernel(A.astype(float), power=2)).float()
    assert torch.allclose(v.grad, 2 * K @ K @ v.detach(), atol=1e-5)


def test_features_keep_float32_and_take_integers_booleans_and_tensors():
    A = random_graph(20, 0.3, 1)
    made = GraphFeatures(random_state=3).fit(A)
    expected = made.transform(A)
    assert expected.dtype == np.float64
    for kind in (int, bool):
        assert np.array_equal(made.transform(A.astype(kind)).toarray(), expected.toarray())
    for other in (scipy.sparse.coo_matrix(A), torch.from_numpy(A), torch.from_numpy(A).to_sparse()):
        assert np.array_equal(made.transform(other).toarray(), expected.toarray())
    single = made.transform(A.astype(np.float32))
    assert single.dtype == np.float32
    assert np.allclose(single.toarray(), expected.toarray(), rtol=1e-6)


def test_a_seed_is_a_result_and_copies_keep_it():
    A = random_graph(20, 0.3, 1)
    one = GraphFeatures(random_state=3)
    phi = one.fit_transform(A)
    assert np.array_equal(GraphFeatures(random_state=3).fit_transform(A).toarray(), phi.toarray())
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert np.array_equal(again.transform(A).toarray(), phi.toarray())
    assert list(one.get_feature_names_out()[:2]) == ["graphfeatures0", "graphfeatures1"]
    assert not np.array_equal(
        GraphFeatures(random_state=4).fit_transform(A).toarray(), phi.toarray()
    )


def test_no_edges_and_one_node_are_graphs_too():
    phi = GraphFeatures(sigma2=1.0, power=2).fit_transform(scipy.sparse.csr_array((3, 3)))
    assert np.allclose((phi @ phi.T).toarray(), np.eye(3) / 4)
    phi = GraphFeatures(sigma2=1.0, n_walks=2000, random_state=0).fit_transform(np.ones((1, 1)))
    assert np.isclose((phi @ phi.T).toarray()[0, 0], 1.0, atol=0.05)  # a loop alone: L is 0


def test_a_module_gives_the_same_features_and_their_gradient():
    A = random_graph(15, 0.3, 1, weighted=True)
    features = GraphFeatures("learnable", max_length=5, n_walks=6, random_state=0).fit(A)
    phi = torch.from_numpy(features.transform(A).toarray())
    module = features.as_module(A)
    assert torch.allclose(module(), phi)
    assert torch.allclose(module.sparse().to_dense(), phi)
    index = torch.tensor([4, 0, 11])
    assert torch.allclose(module(index), phi[index])
    assert torch.allclose(module.covariance(index), phi[index] @ phi[index].T)
    v = torch.randn(15, 2, dtype=torch.float64)
    assert torch.allclose(module.matmul(v), phi @ phi.T @ v)

    def entry(f):
        return torch.func.functional_call(module, {"modulation": f}, (index,))

    assert torch.autograd.gradcheck(entry, module.modulation.detach().requires_grad_())
    before = module().detach().clone()
    module.redraw(5)
    assert not torch.equal(module(), before)
    assert module.state_dict().keys() >= {"modulation", "rows", "columns", "weights"}


def test_a_learned_modulation_explains_more_than_the_one_it_starts_from():
    A = random_graph(150, 0.03, 8)
    K = dense_kernel(A, "diffusion", sigma2=12.0)
    rng = np.random.default_rng(0)
    y = np.linalg.cholesky(K + 1e-10 * np.eye(150)) @ rng.normal(size=(150, 2))
    y = y / y.std() + 0.1 * rng.normal(size=y.shape)
    hidden = rng.permutation(150)[:50]
    seen = y.copy()
    seen[hidden] = np.nan

    def error(features):
        phi = features.fit(A, seen).transform(A).toarray()
        K, known = phi @ phi.T, np.setdiff1d(np.arange(150), hidden)
        noise = getattr(features, "noise_", 0.1)
        inner = K[np.ix_(known, known)] + noise * np.eye(len(known))
        mean = K[np.ix_(hidden, known)] @ np.linalg.solve(inner, y[known])
        return np.sqrt(np.mean((mean - y[hidden]) ** 2))

    options = {"max_length": 8, "n_walks": 100, "coupling": "repelling", "random_state": 0}
    fixed = GraphFeatures("regularized_laplacian", **options)
    learned = GraphFeatures("learnable", **options)
    assert error(learned) < 0.85 * error(fixed)
    assert learned.noise_ > 0


BAD_GRAPHS = [
    (np.ones((3, 4)), ArgumentError, r"adjacency: got shape \(3, 4\); give a square one"),
    (np.ones(3), ArgumentError, r"adjacency: got shape \(3,\)"),
    (np.empty((0, 0)), ArgumentError, r"adjacency: got shape \(0, 0\)"),
    (np.array([[0, -1.0], [-1.0, 0]]), ArgumentError, "2 negative weights, the least -1"),
    (np.array([[0, np.nan], [np.nan, 0]]), ArgumentError, "2 weights not finite"),
    (np.array([[0, 1.0], [0, 0]]), ArgumentError, r"a directed graph \(1 pairs differ, by up to 1"),
    (np.array([[0, 1j], [1j, 0]]), ArgumentTypeError, "adjacency: got dtype complex128"),
    (scipy.sparse.csr_array(np.eye(2) * 1j), ArgumentTypeError, "got dtype complex128"),
    ("cora", ArgumentTypeError, "adjacency: got dtype <U4; give a scipy sparse array"),
    ({1: [2]}, ArgumentTypeError, "give a scipy sparse array"),
]


@pytest.mark.parametrize(("graph", "error", "message"), BAD_GRAPHS)
def test_graphs_that_cannot_be_used_are_refused_by_name(graph, error, message):
    with pytest.raises(error, match=message):
        GraphFeatures().fit_transform(graph)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "heat"}, "kernel: got 'heat'"),
        ({"coupling": "q"}, "coupling: got 'q'"),
        ({"power": 0}, "power: got 0"),
        ({"sigma2": -1.0}, "sigma2: got -1.0"),
        ({"n_walks": 0}, "n_walks: got 0; give 1 or more"),
        ({"n_walks": 2.5}, "n_walks: got 2.5; give a whole number"),
        ({"max_length": -1}, "max_length: got -1"),
        ({"stop_probability": 1.0}, "stop_probability: got 1.0; give a number between 0 and 1"),
        ({"stop_probability": 0.0}, "stop_probability: got 0.0"),
        ({"sigma2": 30.0}, r"would not converge \(the spectral radius .* 1.04, at least 1"),
    ],
)
def test_arguments_are_checked_by_name(options, message):
    with pytest.raises(ArgumentError, match=message):
        GraphFeatures(**options).fit(random_graph(5, 0.5, 0))


def test_another_number_of_nodes_and_a_learned_exact_kernel_are_refused():
    features = GraphFeatures("learnable").fit(random_graph(5, 0.5, 0))
    with pytest.raises(ArgumentError, match="a graph of 6 nodes; give one of 5 nodes"):
        features.transform(random_graph(6, 0.5, 0))
    with pytest.raises(ArgumentError, match="kernel: got 'learnable'"):
        features.exact(random_graph(5, 0.5, 0))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones(4), r"y: got shape \(4,\)"),
        (np.full(5, np.nan), "0 nodes with a target"),
        (np.zeros(5), "targets that are all 0"),
        (["a"] * 5, "targets that are no numbers"),
        (np.array([[1.0, np.nan]] * 5), "known in part"),
    ],
)
def test_targets_that_teach_nothing_are_refused(y, message):
    with pytest.raises(ArgumentError, match=message):
        GraphFeatures("learnable").fit(random_graph(5, 0.5, 0), y)


def test_features_are_an_operator_with_exact_solves():
    A = random_graph(25, 0.3, 1)
    features = GraphFeatures(random_state=0).fit(A)
    op, phi = features.as_operator(A), torch.from_numpy(features.transform(A).toarray())
    v = torch.randn(25, 2, dtype=torch.float64)
    assert torch.allclose(op @ v, phi @ (phi.T @ v))
    dense = phi @ phi.T + 0.5 * torch.eye(25)
    noisy = op.add_diagonal(torch.tensor(0.5).double())
    assert torch.allclose(noisy.solve(v), torch.linalg.solve(dense, v))
