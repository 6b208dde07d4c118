"""Random features against scikit-learn's RBFSampler and Nystroem and gpytorch's RFFKernel.

Errors of kernel matrices, rows a second and bytes of every map; ridge regression on protein and
kin40k; a step of the marginal likelihood; couplings in closed form and by Monte Carlo; and
classification with as many features as inputs. Draws kernels.png and couplings.png.
"""
