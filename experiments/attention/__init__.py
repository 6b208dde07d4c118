"""Attention against its peers: error against seconds and against memory, by family and length.

Families: Gaussian queries and keys with values of their own (nothing approximate works), clustered
and smooth ones, and the heads of a small character transformer that is trained in the run on
``text/`` of the data folder; its weights stay in ``--out``, so that a second run need not train.
Peers: torch's fused kernel, a softmax that forms the matrix, KDEformer (blocks of a hash and 512
sampled keys), HyperAttention (the same, sampled uniformly) and Performer's positive features.
Beside them stand polynomial attention, maps by their means, sketched products, densities and modes.
Where nothing approximate pays the table says that too. Seconds are medians, methods in turn.
"""
