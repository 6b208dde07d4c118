"""Attention as a kernel operator, and what stands on the same algorithms."""

from kernelgp.attention.call import attention
from kernelgp.attention.kronecker_attention import KroneckerAttention, KroneckerAttention2d
from kernelgp.attention.options import KDEOptions
from kernelgp.attention.report import AttentionReport
from kernelgp.attention.sketches import RowSketch, sketch_matmul

__all__ = [
    "AttentionReport",
    "KDEOptions",
    "KroneckerAttention",
    "KroneckerAttention2d",
    "RowSketch",
    "attention",
    "sketch_matmul",
]
