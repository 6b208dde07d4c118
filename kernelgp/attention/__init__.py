"""Attention as a kernel operator, and what stands on the same algorithms."""

from kernelgp.attention.sketches import RowSketch, sketch_matmul

__all__ = ["RowSketch", "sketch_matmul"]
