"""
Operators
=========

Products, solves, log-determinants and samples without a matrix; writes operators.png.
"""

import torch

from kernelgp import linalg
from kernelgp.kernels import RBF, Matern, Periodic
from kernelgp.operators import KernelOperator, KroneckerOperator, ToeplitzOperator
from kernelgp.plotting import grid_of_axes, save

x = torch.rand(20_000, 3)
kernel = 2.0 * RBF(lengthscale=0.3) + Matern(nu=2.5, lengthscale=[0.5, 0.2, 1.0])
K = KernelOperator(kernel, x)  # nothing is computed
print(f"K: {tuple(K.shape)}, {K.dtype}, backend {K.backend}")

product = K @ torch.randn(20_000, 16)  # O(n) memory; autograd reaches x and hyperparameters
print(f"K @ V: {tuple(product.shape)}")
cross = KernelOperator(kernel, x, x[:500], backend="dense")
A = K.add_diagonal(torch.tensor(0.01))
print(f"a corner of A, as any linear_operator:\n{A[3:5, 3:6].to_dense().detach()}")

solution, report = linalg.solve(A, torch.randn(20_000), rtol=1e-6)  # solution in float64
print(f"solve: {report}")
print(f"  converged: {report.converged}, preconditioner of rank {report.preconditioner_rank}")
value, standard_error = linalg.logdet(A, random_state=0)
print(f"log-determinant: {value:.1f} with standard error {standard_error:.1f}")
samples = linalg.sample(A, 3, random_state=0)  # zero mean, covariance A
print(f"samples: {tuple(samples.shape)}, variance {samples.var():.2f} (3 on the diagonal)")

axis = torch.linspace(0, 1, 64, dtype=torch.float64)[:, None]
slow, periodic = RBF(lengthscale=0.2), Periodic(period=0.5)
grid = KroneckerOperator(KernelOperator(slow, axis), KernelOperator(periodic, axis))
toeplitz = ToeplitzOperator(torch.exp(-torch.arange(64.0)))
print(f"on a grid: {tuple(grid.shape)}; on a line: {tuple(toeplitz.shape)}")

# %%
# A process on a line of 2 000 points, drawn through its Toeplitz operator.
line = torch.linspace(0, 10, 2000, dtype=torch.float64)
column = (1.0 * Matern(nu=1.5, lengthscale=1.0))(line[:1, None], line[:, None]).to_dense()[0]
process = ToeplitzOperator(column.detach()).add_diagonal(torch.tensor(1e-8, dtype=line.dtype))
figure, axes = grid_of_axes(width=7, height=2.6)
axes[0, 0].plot(line, linalg.sample(process, 4, random_state=0).T)
axes[0, 0].set(xlabel="x", ylabel="Matérn-3/2 process")
save(figure, "operators.png")
