"""Attention as a kernel operator, and what stands on the same algorithms."""

from kernelgp.attention.call import attention
from kernelgp.attention.density import kde, kernel_sum
from kernelgp.attention.fastmax import FastmaxOptions
from kernelgp.attention.feature_attention import FeatureOptions
from kernelgp.attention.kronecker_attention import KroneckerAttention, KroneckerAttention2d
from kernelgp.attention.mean_shift import Modes, find_modes
from kernelgp.attention.multihead import MultiheadAttention
from kernelgp.attention.operator import AttentionOperator
from kernelgp.attention.options import KDEOptions
from kernelgp.attention.report import AttentionReport
from kernelgp.attention.sketches import RowSketch, sketch_matmul
from kernelgp.attention.thinned import ThinnedOptions

__all__ = [
    "AttentionOperator",
    "AttentionReport",
    "FastmaxOptions",
    "FeatureOptions",
    "KDEOptions",
    "KroneckerAttention",
    "KroneckerAttention2d",
    "Modes",
    "MultiheadAttention",
    "RowSketch",
    "ThinnedOptions",
    "attention",
    "find_modes",
    "kde",
    "kernel_sum",
    "sketch_matmul",
]
