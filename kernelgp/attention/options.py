"""What can be chosen of each method, one frozen dataclass for each."""

from dataclasses import dataclass
from typing import Literal

from kernelgp.errors import ArgumentError, ArgumentTypeError

__all__ = ["KDEOptions", "check_choice", "check_count"]


@dataclass(frozen=True, slots=True)
class KDEOptions:
    """Of ``method="kde"``: near blocks key by key, the rest by the leaves of a tree.

    Attributes
    ----------
    block_query
        Queries that share their near blocks.
    block_key
        Keys in a near block; a multiple of `leaf`.
    leaf
        Keys summarised as one; None takes 16, and from 32 768 keys on what keeps their number
        at 2 048.
    near
        Near blocks of each block of queries.
    grouping
        What brings keys that are alike together: a balanced tree along principal directions,
        the centres of k-means (clustered keys), or the bits of random hyperplanes.
    residual
        What is done with keys that are not near: summarised by leaves, sampled (KDEformer), or
        left out.
    n_samples
        Keys drawn where ``residual="sample"``.
    sampling
        Probabilities there: of |v| and a constant (KDEformer), uniform (HyperAttention), or of
        the mass that 64 exact rows give.
    linear
        Whether far leaves carry the slope of their values, where weights within a leaf are about
        linear. It can make weights negative: switch it off where outputs must stay in the hull of
        the values.
    causal_leaf
        Rows up to which a causal product is exact.
    """

    block_query: int = 128
    block_key: int = 64
    leaf: int | None = None
    near: int = 4
    grouping: Literal["tree", "kmeans", "lsh"] = "tree"
    residual: Literal["leaf", "sample", "none"] = "leaf"
    n_samples: int = 512
    sampling: Literal["values", "uniform", "mass"] = "values"
    linear: bool = True
    causal_leaf: int = 4096

    def __post_init__(self) -> None:
        for name in ("block_query", "block_key", "near", "n_samples", "causal_leaf"):
            check_count(name, getattr(self, name))
        if self.leaf is not None:
            check_count("leaf", self.leaf)
            if self.block_key % self.leaf:
                remedy = f"give a divisor of block_key = {self.block_key}"
                raise ArgumentError("leaf", str(self.leaf), remedy)
        check_choice("grouping", self.grouping, ("tree", "kmeans", "lsh"))
        check_choice("residual", self.residual, ("leaf", "sample", "none"))
        check_choice("sampling", self.sampling, ("values", "uniform", "mass"))
        if not isinstance(self.linear, bool):
            raise ArgumentTypeError("linear", repr(self.linear), "give True or False")


def check_count(name: str, value: object) -> int:
    """`value`, if it is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(name, repr(value), "give a whole number")
    if value < 1:
        raise ArgumentError(name, str(value), "give at least 1")
    return value


def check_choice(name: str, value: object, known: tuple[str, ...]) -> str:
    """`value`, if it is one of `known`."""
    if value not in known:
        raise ArgumentError(name, repr(value), f"give one of {', '.join(map(repr, known))}")
    return str(value)
