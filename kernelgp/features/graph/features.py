"""Random features of the nodes of a graph, as a scikit-learn transformer."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from typing_extensions import override

from kernelgp.errors import ArgumentError, ArgumentTypeError
from kernelgp.features.graph.adjacency import Graph, read_graph
from kernelgp.features.graph.learning import learn_modulation
from kernelgp.features.graph.modulation import KERNELS, modulation
from kernelgp.features.graph.module import GraphModule
from kernelgp.features.graph.operator import GraphKernelOperator
from kernelgp.features.graph.walks import COUPLINGS, walk
from kernelgp.features.held_rows import HeldRows
from kernelgp.operators.feature import FeatureOperator
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_positive

__all__ = ["GraphFeatures"]

# Walks whose weights have no limit of their own: the inverse cosine's fall only as l^-3/2, and
# what is learned need not fall at all. At 20 the kernel is the first to 9e-4.
_LIMIT = 20


class GraphFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Sparse features Φ of a graph's nodes with ``Φ Φᵀ ≈ K``, from random walks.

    With ``L = I - D^-1/2 A D^-1/2`` and σ² = `sigma2`, K is ``(I + σ² L)^-power`` (the
    regularised Laplacian), ``exp(-σ² L / 2)`` (diffusion) or ``cos(π L / 4)`` (inverse cosine);
    where it is learnable, ``Φ = Σ_l f_l P_l`` with P_l the walks of length l and f to be learned.

    Features cost O(n n_walks / stop_probability) and their error falls as ``1 / √n_walks``. They
    are the thing to have where explicit sparse features are wanted (linear models, samples,
    hundreds of thousands of nodes), and where the modulation is learned. For products or solves
    with a fixed kernel do not use them: `exact` is a lazy operator that multiplies by the exact
    kernel in a few dozen sparse products, milliseconds for 10 000 nodes, and on grids, meshes
    and other graphs that fill in little its ``method="cholesky"`` is faster still.

    Parameters
    ----------
    kernel : {"regularized_laplacian", "diffusion", "inverse_cosine", "learnable"}
    power : float
        Of the regularised Laplacian, any positive number.
    sigma2 : float
        σ²; the inverse cosine has none. Where the kernel is learnable, power and σ² give the
        regularised Laplacian that it starts from.
    n_walks : int
        Walkers from every node.
    stop_probability : float
        With which a walker stops before each step.
    coupling : {"iid", "antithetic", "repelling", "reinforced"}
        "antithetic": pairs of walkers whose stopping is opposed. "repelling": so too, and those
        who meet leave by different edges; two to three times less error at little cost.
        "reinforced": each avoids the edges that the node's earlier walkers took.
    max_length : int, optional
        The longest walk; by default as far as the kernel goes, which leaves no bias, and 20 for
        the inverse cosine (a bias of 1e-3 at most) and learnable ones.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Attributes
    ----------
    n_features_in_ : int
        The number of nodes.
    modulation_ : ndarray, shape (longest walk + 1,)
        f.
    noise_ : float
        Where a modulation was learned, the variance of the noise found beside it.

    Notes
    -----
    The diagonal of ``Φ Φᵀ`` is above that of K on average, by the variance of the features;
    `transform_pair` gives two independent sets, whose ``Φ Φ'ᵀ`` has no bias anywhere but is
    neither symmetric nor definite.
    A node without neighbors has the covariance ``(1 + σ²)^-power`` (or what the kernel has at
    L = 1) with itself and none with others. A loop counts as an edge to itself. Weighted edges
    are taken in proportion to their weight. Directed graphs and negative weights are refused.

    References
    ----------
    K. Choromanski, *Taming graph kernels with random features*, ICML 2023.
    I. Reid, K. Choromanski, E. Berger and A. Weller, *General graph random features*, ICLR 2024.

    Examples
    --------
    >>> import scipy.sparse
    >>> ring = scipy.sparse.diags_array([1.0, 1.0, 1.0, 1.0], offsets=[-5, -1, 1, 5], shape=(6, 6))
    >>> features = GraphFeatures(n_walks=1000, random_state=0)
    >>> phi = features.fit_transform(ring)
    >>> phi.shape, bool(abs(phi @ phi.T - features.exact(ring).to_dense().numpy()).max() < 0.01)
    ((6, 6), True)
    """

    def __init__(
        self,
        kernel: str = "regularized_laplacian",
        *,
        power: float = 1,
        sigma2: float = 0.25,
        n_walks: int = 40,
        stop_probability: float = 0.1,
        coupling: str = "antithetic",
        max_length: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.kernel = kernel
        self.power = power
        self.sigma2 = sigma2
        self.n_walks = n_walks
        self.stop_probability = stop_probability
        self.coupling = coupling
        self.max_length = max_length
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "GraphFeatures":
        """Check the graph and draw a seed; learn the modulation, if it is learnable and y given.

        Parameters
        ----------
        X : scipy sparse array or dense array, shape (n, n)
            The adjacency matrix.
        y : array, shape (n,) or (n, k), optional
            Targets, NaN at the nodes that have none. Read by the kernel "learnable" only, whose
            f and noise then maximise the marginal likelihood of a Gaussian process on the nodes
            that have one; O(labelled³) a step.

        Raises
        ------
        ArgumentError
            If the graph cannot be used (see `read_graph`), an argument is out of its range, or
            the walks' weights would have no finite variance.
        """
        graph = read_graph(X)
        f = self._starting_modulation()
        self._draw(graph.n)
        self.modulation_ = f
        if self.kernel == "learnable" and y is not None:
            module = self._module(graph, torch.float64)
            self.modulation_, self.noise_ = learn_modulation(module, y)
        return self

    def transform(self, X: Any) -> scipy.sparse.csr_array:
        """Features of the nodes of a graph with as many nodes as that of `fit`, shape (n, n)."""
        return self._features(self._read(X), self._seeds[0])

    def transform_pair(self, X: Any) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """Two independent sets: the product of one with the other's transpose has no bias."""
        graph = self._read(X)
        return self._features(graph, self._seeds[0]), self._features(graph, self._seeds[1])

    def as_operator(self, X: Any) -> FeatureOperator:
        """``Φ Φᵀ`` as a lazy operator: products, and solves with noise, by the sparse features."""
        phi = self.transform(X)
        like = torch.empty(0, dtype=torch.float32 if phi.dtype == np.float32 else torch.float64)
        return FeatureOperator(HeldRows(like, _SparseRows(phi)))

    def exact(self, X: Any, method: str = "chebyshev") -> GraphKernelOperator:
        """The kernel that the features stand for, as a lazy operator.

        Parameters
        ----------
        X
            The adjacency matrix.
        method : {"chebyshev", "cg", "cholesky"}
            See `GraphKernelOperator`.

        Raises
        ------
        ArgumentError
            If the kernel is learnable.
        """
        if self.kernel == "learnable":
            remedy = "use as_module(X), or the features: a learned kernel is what its walks give"
            raise ArgumentError("kernel", "'learnable'", remedy)
        return GraphKernelOperator.from_graph(
            X, self.kernel, power=self.power, sigma2=self.sigma2, method=method
        )

    def as_module(self, X: Any, dtype: torch.dtype | None = None) -> GraphModule:
        """The features as a torch module whose modulation is a parameter; walks are made once.

        Parameters
        ----------
        X
            The adjacency matrix.
        dtype
            That of X by default.
        """
        graph = self._read(X)
        default = torch.float32 if graph.dtype == np.float32 else torch.float64
        return self._module(graph, dtype or default)

    @override
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def _read(self, X: Any) -> Graph:
        check_is_fitted(self)
        graph = read_graph(X)
        if graph.n != self.n_features_in_:
            remedy = f"give one of {self.n_features_in_} nodes, as in fit, or fit again"
            raise ArgumentError("adjacency", f"a graph of {graph.n} nodes", remedy)
        return graph

    def _draw(self, n: int) -> None:
        generator = as_generator(self.random_state)
        self._seeds = torch.randint(2**62, (2,), generator=generator).tolist()
        self.n_features_in_ = n

    def _features(self, graph: Graph, seed: int) -> scipy.sparse.csr_array:
        left = walk(graph, self.modulation_, apart=False, seed=seed, **self._walks())
        parts = left.values.astype(graph.dtype), left.keys, left.starts
        return scipy.sparse.csr_array(parts, shape=(graph.n, graph.n))

    def _module(self, graph: Graph, dtype: torch.dtype) -> GraphModule:
        return GraphModule(
            graph, self.modulation_, seed=self._seeds[0], dtype=dtype, **self._walks()
        )

    def _walks(self) -> dict[str, Any]:
        return {
            "n_walks": int(self.n_walks),
            "stop_probability": float(self.stop_probability),
            "coupling": self.coupling,
        }

    def _starting_modulation(self) -> NDArray[np.float64]:
        """Check the arguments; f to where it, or the number of walks that long, is nothing."""
        self._check()
        p, sigma2 = float(self.stop_probability), float(self.sigma2)
        kernel = "regularized_laplacian" if self.kernel == "learnable" else self.kernel
        limited = self.kernel in ("inverse_cosine", "learnable")
        if self.max_length is not None:
            longest = int(self.max_length)
        elif limited:
            longest = _LIMIT
        else:
            longest = math.ceil(math.log(1e-16) / math.log1p(-p))
        if kernel == "regularized_laplacian" and not limited:
            reach = sigma2 / (1 + sigma2)
            if self.max_length is None and reach**2 >= 1 - p:
                given = (
                    f"{p:.4g} with sigma2 {sigma2:.4g}, whose walks would not converge (the "
                    f"spectral radius of their variance is {reach**2 / (1 - p):.3g}, at least 1)"
                )
                remedy = f"give less than {1 - reach**2:.3g}, a max_length, or use exact()"
                raise ArgumentError("stop_probability", given, remedy)
        f = modulation(kernel, longest, float(self.power), sigma2)
        rest = np.cumsum(np.abs(f)[::-1])[::-1]
        return f if limited else f[: max(2, int((rest > 1e-16 * rest[0]).sum()))]

    def _check(self) -> None:
        if self.kernel not in (*KERNELS, "learnable"):
            listed = '", "'.join(KERNELS)
            raise ArgumentError("kernel", repr(self.kernel), f'give "{listed}" or "learnable"')
        if self.coupling not in COUPLINGS:
            listed = '", "'.join(COUPLINGS)
            raise ArgumentError("coupling", repr(self.coupling), f'give one of "{listed}"')
        check_positive("power", self.power)
        check_positive("sigma2", self.sigma2, zero=True)
        for name, least in (("n_walks", 1), ("max_length", 0)):
            value = getattr(self, name)
            if value is None and name == "max_length":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise ArgumentTypeError(name, repr(value), "give a whole number")
            if value < least:
                raise ArgumentError(name, str(value), f"give {least} or more")
        if not 0 < float(check_positive("stop_probability", self.stop_probability)) < 1:
            given = str(self.stop_probability)
            raise ArgumentError("stop_probability", given, "give a number between 0 and 1")


@dataclass(frozen=True, eq=False)
class _SparseRows:
    """A sparse array as a `Holder`."""

    phi: scipy.sparse.csr_array

    @property
    def shape(self) -> tuple[int, int]:
        return cast(tuple[int, int], self.phi.shape)

    def __matmul__(self, other: Any) -> Any:
        return self.phi @ other

    def rmatmul(self, other: Any) -> Any:
        return self.phi.T @ other
