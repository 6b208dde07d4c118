"""Initial-value problems over long times, slab by slab."""

from solvers.slabs.posterior import SlabsPosterior
from solvers.slabs.report import SlabsReport
from solvers.slabs.solve import check_slabs, solve_in_slabs

__all__ = ["SlabsPosterior", "SlabsReport", "check_slabs", "solve_in_slabs"]
