"""From what size and dimension on which backend wins, per device.

Written by ``python -m experiments.operators --write-table``.
"""

from dataclasses import dataclass

__all__ = ["TABLE", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When "auto" chooses which backend on one device.

    Attributes
    ----------
    dense_entries
        Up to so many entries the matrix is formed and kept: products are then some three times
        as fast. Not beyond 2048 rows, for operators promise linear memory.
    keops_dimension
        Up to so many columns of the points KeOps is chosen, if it works; 0 for never.
    measured
        Where the figures come from.
    """

    dense_entries: int
    keops_dimension: int
    measured: str


TABLE = {
    "cpu": Rule(4194304, 0, "measured: AMD EPYC, 2 threads, torch 2.13.0+cpu"),
    "cuda": Rule(2**22, 100, "not measured: a default"),
}
