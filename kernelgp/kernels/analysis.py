"""What a covariance function offers beside its values: derivatives, spectrum, frequencies.

The checks and the documentation, once for all kernels; the formulas are each kernel's own.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.kernels.ladder import Orders
from kernelgp.kernels.waves import SpectralTerm, term_frequencies
from kernelgp.random import RandomState, as_generator
from kernelgp.validation import check_count, check_finite, check_floating, check_same

__all__ = ["Analysis"]


class Analysis:
    """Derivatives, spectral density and frequencies of a kernel (mixed into `Kernel`).

    A kernel says `partial`; one with a spectrum also `density` and `spectrum`.
    """

    @property
    def is_stationary(self) -> bool:
        """Whether the covariance depends on the difference of two points alone."""
        return False

    def partial(self, x1: Tensor, x2: Tensor, orders1: Orders, orders2: Orders) -> Tensor:
        """`derivative` without checks."""
        raise NotImplementedError

    def density(self, frequencies: Tensor, columns: Orders) -> Tensor:
        """`spectral_density` without checks, of frequencies along the columns named."""
        del frequencies, columns
        remedy = "ask a stationary kernel with a continuous spectrum"
        raise ArgumentError("kernel", f"{self}, which has no spectral density", remedy)

    def spectrum(self) -> list[SpectralTerm]:
        """The terms of its spectrum (`kernelgp.kernels.waves`), with graphs to what is learned."""
        raise ArgumentError("kernel", f"{self}, which has no spectrum", "ask a stationary kernel")

    def derivative(
        self,
        x1: Tensor,
        x2: Tensor,
        orders1: Sequence[int] | None = None,
        orders2: Sequence[int] | None = None,
    ) -> Tensor:
        """Partial derivatives of the kernel in both arguments, in closed form.

        On a uniform axis (d = 1, x2 equal to x1) a stationary kernel is evaluated at the 2n - 1
        lags only.

        Parameters
        ----------
        x1 : Tensor, shape (n, d)
        x2 : Tensor, shape (m, d)
        orders1, orders2 : sequence of d int, optional
            How often to differentiate in each column of the first and of the second argument;
            0 by default. Together up to 8 for `RBF`, the Gaussian `SpectralMixture` and other
            infinitely smooth kernels, up to 2 nu - 1 for Matérn ones.

        Returns
        -------
        Tensor, shape (n, m)

        Raises
        ------
        ArgumentError
            If the kernel is not smooth enough, or shapes and orders do not fit.

        Examples
        --------
        >>> from kernelgp.kernels import RBF
        >>> x = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
        >>> RBF().derivative(x, x, orders1=[1], orders2=[1]).detach()  # (1 - t²) exp(-t² / 2)
        tensor([[ 1.0000, -0.4060],
                [-0.4060,  1.0000]], dtype=torch.float64)
        """
        x1, x2 = _check_points("x1", x1), _check_points("x2", x2)
        check_same("x2", x2, "x1", x1)
        d = x1.shape[-1]
        if x2.shape[-1] != d:
            remedy = f"give (m, {d}), as many columns as x1"
            raise ArgumentError("x2", f"shape {tuple(x2.shape)}", remedy)
        first, second = _check_orders("orders1", orders1, d), _check_orders("orders2", orders2, d)
        self.check_columns(x1)
        if d == 1 and self.is_stationary and _is_uniform(x1) and torch.equal(x1, x2):
            n = len(x1)
            steps = torch.arange(1 - n, n, dtype=x1.dtype, device=x1.device)
            lags = (x1[-1] - x1[0]) / (n - 1) * steps
            values = (-1) ** second[0] * self.derivative_lags(lags, first[0] + second[0])
            # Row i of the matrix reads the lags i, i - 1, ..., i - n + 1.
            return values.unfold(-1, n, 1).flip(-1)
        return self.partial(x1, x2, first, second)

    def derivative_lags(self, lags: Tensor, order: int) -> Tensor:
        """Derivative of a stationary kernel of one input in the lag ``t = x1 - x2``.

        Parameters
        ----------
        lags : Tensor, shape (n,)

        Returns
        -------
        Tensor, shape (n,)

        Raises
        ------
        ArgumentError
            If the kernel is not stationary, or not smooth enough.

        Examples
        --------
        >>> from kernelgp.kernels import Matern
        >>> Matern(2.5).derivative_lags(torch.zeros(1, dtype=torch.float64), 2).detach()  # -5/3
        tensor([-1.6667], dtype=torch.float64)
        """
        check_finite("lags", check_floating("lags", lags))
        if lags.dim() != 1:
            raise ArgumentError("lags", f"shape {tuple(lags.shape)}", "give one dimension, (n,)")
        orders = _check_orders("order", [order], 1)
        if not self.is_stationary:
            raise ArgumentError("kernel", str(self), "ask a stationary one, or call derivative")
        return self.partial(lags.unsqueeze(-1), lags.new_zeros(1, 1), orders, (0,)).squeeze(-1)

    def spectral_density(self, frequencies: Tensor) -> Tensor:
        """Density S with ``k(τ) = ∫ S(f) cos(2π f·τ) df`` (Rasmussen and Williams 2006, 4.15).

        Parameters
        ----------
        frequencies : Tensor, shape (..., n, d), in cycles per unit of the input

        Returns
        -------
        Tensor, shape (..., n)

        Raises
        ------
        ArgumentError
            If the kernel has none, or none in closed form.

        Examples
        --------
        >>> from kernelgp.kernels import RBF
        >>> origin = torch.zeros(1, 1, dtype=torch.float64)
        >>> RBF(lengthscale=2.0).spectral_density(origin).detach()  # sqrt(2 π) * 2
        tensor([5.0133], dtype=torch.float64)
        """
        frequencies = check_finite("frequencies", check_floating("frequencies", frequencies))
        if frequencies.dim() < 2 or frequencies.shape[-1] == 0:
            given = f"shape {tuple(frequencies.shape)}"
            raise ArgumentError("frequencies", given, "give (..., n, d), one row for each")
        self.check_columns(frequencies)
        return self.density(frequencies, tuple(range(frequencies.shape[-1])))

    def sample_frequencies(self, n: int, d: int, random_state: RandomState = None) -> Tensor:
        """Frequencies whose distribution is the normalised spectral density.

        Parameters
        ----------
        n
            How many.
        d
            Number of inputs.
        random_state : int, numpy Generator or RandomState, torch Generator, or None

        Returns
        -------
        Tensor, shape (n, d), float64, in cycles per unit of the input

        Raises
        ------
        ArgumentError
            If the kernel has no spectrum, or a batch of them.

        Examples
        --------
        >>> from kernelgp.kernels import Matern
        >>> Matern(lengthscale=0.5).sample_frequencies(64, 2, random_state=0).shape
        torch.Size([64, 2])
        """
        n, d = check_count("n", n), check_count("d", d)
        batch_shape = cast(Any, self).batch_shape
        if batch_shape:
            given = f"one with a batch of hyperparameters, {tuple(batch_shape)}"
            raise ArgumentError("kernel", given, "index the batch first, kernel[0]")
        self.check_columns(torch.zeros(1, d, dtype=torch.float64))
        generator = as_generator(random_state)
        with torch.no_grad():
            terms = self.spectrum()
            variances = torch.stack([term.variance.cpu() for term in terms])
            choice = torch.multinomial(variances, n, replacement=True, generator=generator)
            width = max(term.n_uniforms(d) for term in terms)
            uniforms, normals = (
                make(n, k, generator=generator, dtype=torch.float64)
                for make, k in ((torch.rand, width), (torch.randn, d))
            )
            return term_frequencies(terms, choice, uniforms, normals)

    def check_columns(self, x: Tensor) -> None:
        """Refuse points whose number of columns the kernel cannot take."""
        raise NotImplementedError


def _check_points(name: str, x: Any) -> Tensor:
    x = check_finite(name, check_floating(name, x))
    if x.dim() != 2 or 0 in x.shape:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", "give (n, d), one row for each point")
    return x


def _check_orders(name: str, orders: Sequence[int] | None, d: int) -> Orders:
    if orders is None:
        return (0,) * d
    given = tuple(orders) if isinstance(orders, Sequence) else (orders,)
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in given)
    if len(given) != d or not whole:
        remedy = f"give {d} whole number{'s' * (d > 1)} from 0, one for each column of the points"
        raise ArgumentError(name, str(orders), remedy)
    return given


def _is_uniform(x: Tensor) -> bool:
    if len(x) < 3:
        return False
    axis = x.detach()[:, 0]
    even = torch.linspace(0, 1, len(x), dtype=x.dtype, device=x.device)
    error = (axis - (axis[0] + (axis[-1] - axis[0]) * even)).abs().max()
    return bool(error <= 4 * torch.finfo(x.dtype).eps * axis.abs().max())
