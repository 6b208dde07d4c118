"""Walks against powers of the matrix they estimate, and modulations against power series."""

import math

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from kernelgp.features.graph.adjacency import read_graph
from kernelgp.features.graph.modulation import KERNELS, modulation, series, spectral_function
from kernelgp.features.graph.walks import COUPLINGS, walk


def random_graph(n, chance, seed, *, weighted=False):
    rng = np.random.default_rng(seed)
    A = np.triu(rng.uniform(size=(n, n)) < chance, 1).astype(float)
    if weighted:
        A *= rng.uniform(0.5, 2.0, size=(n, n))
    return A + A.T


def powers(A, count):
    W = read_graph(A).normalized.toarray()
    return np.stack([np.linalg.matrix_power(W, k) for k in range(count)])


def deposits(A, length, seed, coupling, n_walks=8, stop=0.3):
    """P_0 to P_length, shape (length + 1, n, n)."""
    graph = read_graph(A)
    left = walk(
        graph,
        np.ones(length + 1),
        apart=True,
        n_walks=n_walks,
        stop_probability=stop,
        coupling=coupling,
        seed=seed,
    )
    rows = np.repeat(np.arange(graph.n), np.diff(left.starts))
    out = np.zeros((length + 1, graph.n, graph.n))
    columns, lengths = np.divmod(left.keys, length + 1)
    out[lengths, rows, columns] = left.values
    return out


@pytest.mark.parametrize("kernel", KERNELS)
@given(power=st.floats(0.1, 5), sigma2=st.floats(0, 5))
def test_a_modulation_convolved_with_itself_is_the_series(kernel, power, sigma2):
    f = modulation(kernel, 20, power, sigma2)
    alpha = series(kernel, 20, power, sigma2)
    assert np.abs(np.convolve(f, f)[:21] - alpha).max() < 1e-10 * np.abs(alpha).max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_series_sums_to_the_kernels_function(kernel):
    w = np.linspace(-1, 1, 7)
    alpha = series(kernel, 300, 1.7, 0.8)
    expected = spectral_function(kernel, 1.7, 0.8)(w)
    assert np.allclose(np.polynomial.polynomial.polyval(w, alpha), expected, atol=1e-12)


def test_the_roots_known_in_closed_form_are_found():
    c = 0.5 / 1.5
    lengths = np.arange(12)
    half = [math.comb(2 * k, k) / 4**k for k in lengths]  # (2k - 1)!! / (2k)!!
    assert np.allclose(
        modulation("regularized_laplacian", 11, 1, 0.5), half * c**lengths / 1.5**0.5
    )
    assert np.allclose(modulation("regularized_laplacian", 11, 2, 0.5), c**lengths / 1.5)
    rate = 0.5 / 4
    factorials = np.array([math.factorial(k) for k in lengths])
    expected = math.exp(-rate) * rate**lengths / factorials
    assert np.allclose(modulation("diffusion", 11, 1, 0.5), expected)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("weighted", [False, True])
def test_walks_estimate_powers_without_bias(coupling, weighted):
    A = random_graph(9, 0.4, 1, weighted=weighted)
    A[2, 2] = 1.5  # a loop
    draws = np.stack([deposits(A, 4, seed, coupling, n_walks=7) for seed in range(1000)])
    mean, error = draws.mean(axis=0), draws.std(axis=0) / len(draws) ** 0.5
    expected = powers(A, 5)
    seen = expected > 0.02  # rarer than that, and what was seen has no normal error
    assert (np.abs(mean - expected)[seen] < 4.5 * error[seen] + 1e-12).all()
    assert np.abs(mean - expected)[~seen].max() < 0.01


@pytest.mark.parametrize("coupling", ["antithetic", "repelling"])
def test_a_coupling_lowers_the_error(coupling):
    A = random_graph(20, 0.2, 3)
    f = modulation("regularized_laplacian", 20, 2, 0.5)
    root = np.tensordot(f, powers(A, 21), axes=1)
    K = root @ root.T

    def error(kind):
        phis = [np.tensordot(f, deposits(A, 20, s, kind, 16, 0.5), axes=1) for s in range(60)]
        return np.mean([np.linalg.norm(phi @ phi.T - K) for phi in phis])

    # Measured here: 0.92 and 0.36 of independent walks'.
    assert error(coupling) < {"antithetic": 0.97, "repelling": 0.5}[coupling] * error("iid")


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_any_number_of_threads_gives_the_same(coupling, monkeypatch):
    A = scipy.sparse.csr_array(random_graph(700, 0.01, 0))
    graph, f = read_graph(A), modulation("diffusion", 10, 1, 2.0)

    def run(threads):
        monkeypatch.setattr("torch.get_num_threads", lambda: threads)
        options = {"n_walks": 5, "stop_probability": 0.2, "coupling": coupling, "seed": 3}
        return walk(graph, f, apart=False, **options)

    one, two = run(1), run(2)
    assert np.array_equal(one.starts, two.starts)
    assert np.array_equal(one.keys, two.keys)
    assert np.array_equal(one.values, two.values)


def test_lengths_together_are_the_sum_of_lengths_apart():
    A = random_graph(30, 0.2, 5, weighted=True)
    f = modulation("diffusion", 6, 1, 3.0)
    apart = np.tensordot(f, deposits(A, 6, 11, "repelling"), axes=1)
    left = walk(
        read_graph(A),
        f,
        apart=False,
        n_walks=8,
        stop_probability=0.3,
        coupling="repelling",
        seed=11,
    )
    together = scipy.sparse.csr_array((left.values, left.keys, left.starts), shape=A.shape)
    assert np.allclose(together.toarray(), apart, rtol=1e-12)
