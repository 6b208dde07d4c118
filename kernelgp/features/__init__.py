"""Random features: maps whose inner products approximate a kernel."""

from kernelgp.features.graph import GraphFeatures, GraphKernelOperator, GraphModule

__all__ = ["GraphFeatures", "GraphKernelOperator", "GraphModule"]
