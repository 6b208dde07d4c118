"""The methods of attention by name.

A method is a function

    method(q, k, v, *, is_causal, scale, key_padding, options, generator) -> Found

of queries (B, G, n, d), keys (B, N, d) and values (B, N, dv), where the G query heads of an
entry share its keys. `key_padding` (B, N) is None or True where a key is left out. What comes in
was checked (`kernelgp.attention.door`); half precision comes as it is. Nothing is written to.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kernelgp.attention.exact import exact
from kernelgp.attention.fastmax import FastmaxOptions, fastmax
from kernelgp.attention.feature_attention import FeatureOptions, feature_attention
from kernelgp.attention.near_far import kde
from kernelgp.attention.options import KDEOptions
from kernelgp.attention.report import Found
from kernelgp.attention.thinned import ThinnedOptions, thinned

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to compute attention.

    Attributes
    ----------
    function
        As above.
    options
        Class of its options, made with defaults where none are given; None if it has none.
    approximates
        Whether it approximates softmax attention, so that its error can be estimated.
    offset
        Whether `function` takes an `offset` too: causal products of n queries and N other keys.
    """

    function: Callable[..., Found]
    options: type | None
    approximates: bool
    offset: bool


METHODS: dict[str, Method] = {
    "exact": Method(exact, None, approximates=False, offset=True),
    "thinned": Method(thinned, ThinnedOptions, approximates=True, offset=True),
    "features": Method(feature_attention, FeatureOptions, approximates=True, offset=False),
    "fastmax": Method(fastmax, FastmaxOptions, approximates=False, offset=False),
    "kde": Method(kde, KDEOptions, approximates=True, offset=True),
}
