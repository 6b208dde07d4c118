"""Random features against scikit-learn's RBFSampler and Nystroem and gpytorch's RFFKernel.

Errors of kernel matrices, rows a second and bytes of every map; ridge regression on protein and
kin40k; a step of the marginal likelihood; couplings in closed form and by Monte Carlo; and
classification with as many features as inputs. Draws kernels.png and couplings.png.

Graphs: the errors published for walks by coupling, walks a second, and Gaussian processes on the
nodes of two citation networks and a mesh (``graph/`` of the data folder). Few bits: the kernel,
ridge regression, support vector machines and two-sample statistics, and a Gram matrix by counting
bits. Networks: errors by width, and a classifier whose layers are replaced. Draws walks.png and
bits.png.
"""
