"""Kernels on the nodes of a graph: sparse features from random walks, and the exact operator."""

from kernelgp.features.graph.features import GraphFeatures
from kernelgp.features.graph.module import GraphModule
from kernelgp.features.graph.operator import GraphKernelOperator

__all__ = ["GraphFeatures", "GraphKernelOperator", "GraphModule"]
