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
        Up to so many entries the matrix is formed and kept; above, reading it takes as long
        as computing it again.
    keops_dimension
        Up to so many columns of the points KeOps is chosen, if it works; 0 for never.
    measured
        Where the figures come from.
    """

    dense_entries: int
    keops_dimension: int
    measured: str


TABLE = {
    "cpu": Rule(2**20, 0, "not measured: 2 cores, AMD EPYC 9R14, torch 2.13"),
    "cuda": Rule(2**22, 100, "not measured: a default"),
}
