"""Sketched products: unbiased, with honest standard errors, from sketches made apart."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from kernelgp.attention import RowSketch, sketch_matmul
from kernelgp.errors import ArgumentError, ArgumentTypeError, CheckpointError

SAMPLED = ["priority", "threshold", "uniform"]
METHODS = [*SAMPLED, "countsketch", "gaussian"]


def matrices(n=300, d=6, m=4, seed=0, dtype=torch.float64):
    """Rows of very different norms, half of them zero, the two related where both are not."""
    g = torch.Generator().manual_seed(seed)
    norms = torch.randn(n, 1, generator=g, dtype=torch.float64).exp()
    a = torch.randn(n, d, generator=g, dtype=torch.float64)
    b = a[:, :m] + torch.randn(n, m, generator=g, dtype=torch.float64)
    a[n // 2 :] = 0
    b[: n // 4] = 0
    return (norms * a).to(dtype), (norms * b).to(dtype)


def sparse_case(n=20_000, n_columns=200, z=10, seed=0):
    """Half of each matrix's rows not zero, half of those shared; log-normal norms."""
    rng = np.random.default_rng(seed)
    columns = np.argsort(rng.random((n, n_columns)), axis=1)[:, :z]
    first = rng.normal(size=(n, z))
    second = 0.7 * first + 0.7 * rng.normal(size=(n, z))
    norms = np.exp(rng.normal(size=(n, 1)))

    def matrix(values, keep):
        rows = np.repeat(np.arange(n)[keep], z)
        parts = ((norms * values)[keep].ravel(), (rows, columns[keep].ravel()))
        return sparse.csr_array(parts, shape=(n, n_columns))

    half, quarter = n // 2, n // 4
    return matrix(first, slice(0, half)), matrix(second, slice(quarter, quarter + half))


def relative_error(product, a, b):
    scale = sparse.linalg.norm(a) * sparse.linalg.norm(b)
    return np.linalg.norm(product.numpy() - (a.T @ b).toarray()) / scale


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_is_unbiased(method):
    a, b = matrices()
    products = torch.stack(
        [sketch_matmul(a, b, 40, method=method, generator=seed) for seed in range(400)]
    )
    mean, error = products.mean(dim=0), products.std(dim=0) / 20
    assert ((mean - a.mT @ b) / error).abs().max() < 4.5


@pytest.mark.parametrize("method", METHODS)
def test_the_standard_error_is_that_of_many_seeds(method):
    a, b = matrices(seed=1)
    products, errors = [], []
    for seed in range(400):
        product, error = RowSketch.fit(a, 40, method, seed).matmul(
            RowSketch.fit(b, 40, method, seed)
        )
        products.append(product)
        errors.append(error.square())
    true = (torch.stack(products) - a.mT @ b).square().mean(dim=0).sum()
    said = torch.stack(errors).mean(dim=0).sum()
    # Random signs do better than the formula of Gaussian weights, by what rows contribute alone.
    assert (0.6 if method == "countsketch" else 0.85) * said < true < 1.2 * said


@pytest.mark.parametrize("method", SAMPLED)
def test_as_many_rows_as_there_are_make_it_exact(method):
    a, b = matrices()
    product, error = RowSketch.fit(a, 300, method).matmul(RowSketch.fit(b, 300, method))
    torch.testing.assert_close(product, a.mT @ b)
    assert error.max() == 0


@pytest.mark.parametrize("method", ["priority", "uniform"])
@given(size=st.integers(1, 60), seed=st.integers(0, 99))
def test_exactly_size_rows_are_kept_and_none_of_zeros(method, size, seed):
    a, _ = matrices(n=80)
    sketch = RowSketch.fit(a, size, method, seed)
    assert len(sketch.index) == min(size, 40)
    assert (a[sketch.index].abs().sum(dim=-1) > 0).all()


def test_threshold_keeps_size_rows_in_the_mean():
    a, _ = matrices()
    kept = [len(RowSketch.fit(a, 40, "threshold", seed).index) for seed in range(200)]
    assert abs(np.mean(kept) - 40) < 4 * np.std(kept) / 200**0.5


def test_priority_is_four_times_better_than_linear_and_independent_sketches():
    # attention.md's acceptance A13: 10 000 numbers each, 21 a row of 10 entries.
    a, b = sparse_case()
    errors = {}
    for method, size in [("priority", 476), ("countsketch", 50), ("gaussian", 50)]:
        found = [
            RowSketch.fit(a, size, method, seed).matmul(RowSketch.fit(b, size, method, seed))[0]
            for seed in range(4)
        ]
        errors[method] = np.mean([relative_error(x, a, b) ** 2 for x in found]) ** 0.5
    rng = np.random.default_rng(0)
    errors["independent"] = np.mean([independent_error(a, b, 476, rng) ** 2 for _ in range(4)])
    errors["independent"] **= 0.5
    assert errors["priority"] < (2 / 476) ** 0.5
    assert 4 * errors["priority"] < min(
        errors[name] for name in ("countsketch", "gaussian", "independent")
    )


def independent_error(a, b, size, rng):
    """Threshold sampling of each by its own random numbers."""
    kept, probability = [], []
    for x in (a, b):
        square = x.power(2).sum(axis=1)
        p = np.minimum(1, size * square / square.sum())
        kept.append(rng.random(len(p)) < p)
        probability.append(p)
    both = np.flatnonzero(kept[0] & kept[1])
    weights = sparse.diags_array(1 / (probability[0] * probability[1])[both])
    return relative_error(torch.from_numpy((a[both].T @ weights @ b[both]).toarray()), a, b)


@pytest.mark.parametrize("method", METHODS)
def test_sparse_and_dense_rows_give_the_same_sketch(method):
    a, b = matrices(n=120)
    dense, _ = RowSketch.fit(a, 30, method, 5).matmul(RowSketch.fit(b, 30, method, 5))
    for x in (a.to_sparse_coo(), sparse.coo_array(a.numpy()), sparse.csc_matrix(a.numpy())):
        for y in (b, sparse.csr_array(b.numpy()), b.numpy()):
            product, _ = RowSketch.fit(x, 30, method, 5).matmul(RowSketch.fit(y, 30, method, 5))
            torch.testing.assert_close(product, dense)


def test_rows_of_a_million_columns_stay_sparse():
    rng = np.random.default_rng(0)
    at = (rng.integers(1000, size=5000), rng.integers(1_000_000, size=5000))
    a = sparse.csr_array((rng.normal(size=5000), at), shape=(1000, 1_000_000))
    b = torch.randn(1000, 2, dtype=torch.float64)
    sketch = RowSketch.fit(a, 200)
    product, error = sketch.matmul(RowSketch.fit(b, 200))
    assert product.shape == error.shape == (1_000_000, 2)
    assert sketch.nbytes < 200 * 15 * 12 + 3000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_sketch_comes_back_from_its_file(method, kind, tmp_path):
    a, b = matrices(n=100, dtype=torch.float32)
    a = a if kind == "dense" else sparse.csr_array(a.numpy())
    sketch, other = RowSketch.fit(a, 20, method, 7), RowSketch.fit(b, 20, method, 7)
    sketch.save(tmp_path / "a.sketch")
    loaded = RowSketch.load(tmp_path / "a.sketch")
    for one, two in zip(sketch.matmul(other), loaded.matmul(other), strict=True):
        assert torch.equal(one, two)
    assert (loaded.nbytes, loaded.shape) == (sketch.nbytes, (100, 6))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "a.sketch"
    RowSketch.fit(torch.ones(9, 2), 3).save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        RowSketch.load(path)


def test_gradients_are_those_of_the_estimate():
    # Of rows that are not zero: those that are belong to no sketch.
    a, b = (torch.randn(30, d, dtype=torch.float64, requires_grad=True) for d in (3, 2))
    for method in METHODS:
        assert torch.autograd.gradcheck(
            lambda x, y: sketch_matmul(x, y, 30, method=method, generator=3),  # noqa: B023
            (a, b),
        )


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_units_neither_overflow_nor_vanish(scale):
    a, b = matrices(n=100)
    product, error = RowSketch.fit(a * scale, 30).matmul(RowSketch.fit(b / scale, 30))
    expected, its_error = RowSketch.fit(a, 30).matmul(RowSketch.fit(b, 30))
    torch.testing.assert_close(product, expected)
    torch.testing.assert_close(error, its_error)


def test_a_matrix_of_zeros_has_an_exact_product():
    for method in METHODS:
        zero, b = torch.zeros(9, 2), torch.randn(9, 3)
        assert not sketch_matmul(zero, b, 4, method=method, generator=0).any()


def test_the_same_generator_gives_the_same_bytes():
    a, b = matrices()
    for method in METHODS:
        one, two = (sketch_matmul(a, b, 20, method=method, generator=4) for _ in range(2))
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"a": torch.ones(3)}, ArgumentError, r"a: got shape \(3,\); give a matrix"),
        ({"a": torch.ones(0, 2)}, ArgumentError, r"a: got shape \(0, 2\)"),
        ({"a": torch.ones(3, 2).int()}, ArgumentError, "a: got torch.int32"),
        ({"a": np.ones((3, 2), int)}, ArgumentError, "a: got dtype int64"),
        ({"a": sparse.csr_array(np.eye(3, dtype=bool))}, ArgumentError, "a: got dtype bool"),
        ({"a": [[1.0]]}, ArgumentTypeError, "a: got list; give a torch tensor"),
        ({"a": torch.tensor([[torch.nan]])}, ArgumentError, "1 of 1 entries not finite"),
        ({"size": 0}, ArgumentError, "size: got 0; give a positive integer"),
        ({"size": 2.5}, ArgumentTypeError, r"size: got 2\.5; give a positive integer"),
        ({"size": True}, ArgumentTypeError, "size: got True"),
        ({"method": "best"}, ArgumentError, "method: got 'best'; give one of priority"),
        ({"seed": "x"}, ArgumentTypeError, "seed: got 'x'; give an integer"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        RowSketch.fit(**{"a": torch.ones(3, 2), "size": 2, **arguments})


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (RowSketch.fit(torch.ones(9, 2), 4, seed=1), ArgumentError, "sketch of seed 1; fit both"),
        (RowSketch.fit(torch.ones(9, 2), 4, "uniform"), ArgumentError, "method 'uniform'; fit"),
        (RowSketch.fit(torch.ones(8, 2), 4), ArgumentError, "a sketch of 8 rows; give one of 9"),
        (RowSketch.fit(torch.ones(9, 2).double(), 4), ArgumentError, "dtype torch.float64; give"),
        (torch.ones(9, 2), ArgumentTypeError, "other: got Tensor; give a RowSketch"),
    ],
)
def test_sketches_that_do_not_fit_are_named(other, error, message):
    with pytest.raises(error, match=message):
        RowSketch.fit(torch.ones(9, 2), 4).matmul(other)


def test_linear_sketches_must_be_of_one_size():
    one, two = (RowSketch.fit(torch.ones(9, 2), size, "gaussian") for size in (3, 4))
    with pytest.raises(ArgumentError, match="a sketch of size 4; fit both"):
        one.matmul(two)


def test_the_second_matrix_is_named_too():
    with pytest.raises(ArgumentError, match=r"b: got a sketch of 4 rows; give one of 3"):
        sketch_matmul(torch.ones(3, 2), torch.ones(4, 2), 2, generator=0)
