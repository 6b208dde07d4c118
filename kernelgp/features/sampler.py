"""Frequencies of a kernel, coupled: spectrum, coupling and rotation, chosen apart."""

from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.features.coupling import (
    COUPLINGS,
    ROTATIONS,
    Coupling,
    Rotation,
    StandardDraw,
    draw_standard,
    place_simplex,
)
from kernelgp.features.hadamard import HadamardRounds
from kernelgp.kernels.foreign import as_ours
from kernelgp.kernels.waves import SpectralTerm, term_frequencies
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_choice, check_count

__all__ = ["dense_normals", "draw_terms", "random_counts", "read_kernel", "sample_frequencies"]


def sample_frequencies(
    kernel: object,
    d: int,
    n: int,
    coupling: Coupling = "orthogonal",
    rotation: Rotation = "haar",
    random_state: RandomState = None,
) -> Tensor:
    """Frequencies whose distribution is the kernel's spectral density, coupled to vary less.

    Parameters
    ----------
    kernel : stationary kernel of kernelgp.kernels, gpytorch or scikit-learn
        Any: Gaussian, Matérn (Laplacian), rational quadratic, periodic, spectral mixtures, with a
        lengthscale for each column, and sums and products of these.
    d
        Number of inputs.
    n
        Number of frequencies; those that do not fill a block of d are exact in distribution too.
    coupling : {"iid", "orthogonal", "simplex", "simplex+", "sobol", "halton"}
        Orthogonal suits waves (`FourierFeatures`); simplex and simplex+, whose rows balance each
        other, positive features (`PositiveFeatures`). Sobol and Halton points need few inputs.
    rotation : {"haar", "hadamard"}
        Of the blocks: uniform over all rotations, or three rounds of random signs and a Hadamard
        matrix, in d padded to a power of two. Below 16 a Haar rotation follows the rounds, whose
        directions are too few there; the product of both is a Haar rotation.
    random_state : int, numpy Generator or RandomState, torch Generator, or None

    Returns
    -------
    Tensor, shape (n, d), float64, in cycles per unit of the input
        Of a sum of kernels those of one term stand together.

    Raises
    ------
    ArgumentError
        If the kernel has no spectrum, or an argument cannot be used.

    Notes
    -----
    "iid" with the same `random_state` need not be `kernel.sample_frequencies`.

    Examples
    --------
    >>> from kernelgp.kernels import RBF
    >>> W = sample_frequencies(RBF(lengthscale=0.5), d=4, n=6, random_state=0)
    >>> angles = W @ W.T
    >>> bool(angles[0, 1].abs() < 1e-12), W.shape
    (True, torch.Size([6, 4]))
    """
    check_count("d", d)
    check_count("n", n)
    ours = read_kernel(kernel, d)
    generator = as_generator(random_state)
    with torch.no_grad():
        terms = ours.spectrum()
        variances = torch.stack([term.variance.cpu() for term in terms])
        counts = random_counts(variances, n, generator)
        choice, draw = draw_terms(terms, counts, d, coupling, rotation, generator)
        return term_frequencies(terms, choice, draw.uniforms, dense_normals(draw, d))


def read_kernel(kernel: object, d: int) -> Any:
    """A copy of the kernel as one of ours, if it has a spectrum in d inputs.

    Raises
    ------
    ArgumentError
        Naming `kernel`, or what of it does not fit d columns.
    """
    ours: Any = as_ours(kernel)
    if not hasattr(ours, "spectrum"):
        given = f"a {type(ours).__name__} with priors or constraints, or one we have no equal of"
        raise ArgumentError("kernel", given, "give a stationary kernel of kernelgp.kernels")
    if ours.batch_shape:
        given = f"one with a batch of hyperparameters, {tuple(ours.batch_shape)}"
        raise ArgumentError("kernel", given, "index the batch first, kernel[0]")
    ours.check_columns(torch.zeros(1, d, dtype=torch.float64))
    for term in ours.spectrum():
        term.n_uniforms(d)  # refuses what has no spectrum of so many inputs
    return ours


def draw_terms(
    terms: list[SpectralTerm],
    counts: list[int],
    d: int,
    coupling: Coupling,
    rotation: Rotation,
    generator: torch.Generator,
) -> tuple[Tensor, StandardDraw]:
    """So many draws for every term, each coupled among themselves.

    Returns
    -------
    choice : Tensor, shape (n,), int64
        The term of every row.
    draw
        In its structured form only where there is one term.
    """
    check_choice("coupling", coupling, COUPLINGS)
    check_choice("rotation", rotation, ROTATIONS)
    width = max(term.n_uniforms(d) for term in terms)
    choice = torch.repeat_interleave(torch.arange(len(terms)), torch.tensor(counts))
    draws = [
        draw_standard(count, d, width, coupling, rotation, generator) for count in counts if count
    ]
    if len(draws) == 1:
        return choice, draws[0]
    normals = torch.cat([dense_normals(draw, d) for draw in draws])
    return choice, StandardDraw(torch.cat([draw.uniforms for draw in draws]), normals)


def dense_normals(draw: StandardDraw, d: int) -> Tensor:
    """The normals of a draw, (n, d), whichever way it holds them."""
    if draw.normals is not None:
        return draw.normals
    assert draw.rounds is not None
    assert draw.lengths is not None
    size = draw.rounds.size
    parts = []
    for signs, lengths in zip(draw.rounds.signs, draw.lengths.split(size), strict=True):
        rows = HadamardRounds(signs.unsqueeze(0)).rotations()[0]
        rows = place_simplex(rows) if draw.simplex else rows
        parts.append(lengths.unsqueeze(-1) * rows[: len(lengths), :d])
    return torch.cat(parts)


def random_counts(weights: Tensor, n: int, generator: torch.Generator) -> list[int]:
    """Whole numbers with sum n whose expectations are in proportion to the weights."""
    ends = n * (weights / weights.sum()).cumsum(0)
    ends[-1] = n
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    marks = (ends - offset).ceil().clamp(0, n).long()
    marks[-1] = n
    return torch.diff(marks, prepend=torch.zeros(1, dtype=torch.long)).tolist()
