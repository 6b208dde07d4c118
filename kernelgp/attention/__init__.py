"""Attention as a kernel operator, and what stands on the same algorithms."""

from kernelgp.attention.kronecker_attention import KroneckerAttention, KroneckerAttention2d
from kernelgp.attention.sketches import RowSketch, sketch_matmul

__all__ = ["KroneckerAttention", "KroneckerAttention2d", "RowSketch", "sketch_matmul"]
