"""What a regression is given: settings that are checked, data that are standardised."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernelgp.errors import ArgumentError
from kernelgp.estimators.base import Scales, Training
from kernelgp.gp.choose import LARGEST_DENSE, Method, choose_covariance
from kernelgp.gp.coregional import CoregionalCovariance, CoregionalRegression
from kernelgp.gp.dense import DenseCovariance
from kernelgp.gp.gradients import (
    GradientCovariance,
    GradientNoise,
    GradientRegression,
    Observations,
)
from kernelgp.gp.regression import Mean, Regression
from kernelgp.gp.student_t import StudentNoise, StudentRegression
from kernelgp.gp.vecchia import VecchiaCovariance
from kernelgp.gp.vecchia_posterior import VecchiaRegression

__all__ = ["Noise", "Problem", "Settings"]


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What the user asked for, checked.

    Attributes
    ----------
    noise : Tensor, shape () or (n,), or None to learn it
    likelihood : gpytorch likelihood, float or None
        One whose noise takes the place of `noise`, or the degrees of freedom of Student's t to
        start from.
    gradient_noise : Tensor, shape (), or None to learn it
    """

    kernel: Any
    noise: Tensor | None
    likelihood: Any
    gradient_noise: Tensor | None
    outputs: str
    method: Method
    mean: str
    learns: bool
    n_restarts: int
    max_iterations: int
    normalize_x: bool
    normalize_y: bool
    dtype: torch.dtype | None
    generator: torch.Generator
    visible: bool | None
    distributed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """The variance of the noise in the user's units: learned, in a module, or fixed.

    Attributes
    ----------
    per_output
        Whether there is one for each standardised output rather than for each row.
    """

    module: Any
    fixed: Tensor | None
    per_output: bool = False

    def value(self) -> Tensor:
        """Shape () or (n,), with a graph where it is learned; (2,) beside gradients."""
        if self.fixed is not None:
            return self.fixed
        if isinstance(self.module, GradientNoise):
            return self.module.both()
        value = self.module.noise.double()
        return value if self.per_output else value.reshape(())

    def response(self) -> Tensor:
        """The variance that a target has beyond the function's, of the shape of `value`."""
        return getattr(self.module, "response_variance", self.value)()

    @property
    def is_one(self) -> bool:
        return self.fixed is None or self.fixed.dim() == 0


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """The data made ready: standardised, and sorted by which outputs share their rows.

    Attributes
    ----------
    groups : list of pairs
        Outputs, and the rows at which they were observed.
    unit
        What kernel and noise are divided by: the variance of the targets where there is one for
        all outputs, else 1, and the kernel is that of the standardised outputs.
    """

    data: Training
    y: Tensor
    scales: Scales
    unit: float
    mean: Mean
    groups: list[tuple[Tensor, Tensor]]
    gradients: Tensor | None = None

    @classmethod
    def of(cls, data: Training, settings: Settings, gradients: Tensor | None = None) -> "Problem":
        standardise = settings.learns and settings.normalize_y
        scales = Scales.of(data, normalize_x=settings.normalize_x, normalize_y=standardise)
        y = data.y.double().reshape(len(data.y), -1)
        if y.shape[-1] > 1 and settings.noise is not None and settings.outputs == "independent":
            # One variance in the user's units must stay one.
            common = scales.y_scale.square().mean().sqrt().expand_as(scales.y_scale)
            scales = replace(scales, y_scale=common.clone())
        one = bool((scales.y_scale == scales.y_scale[0]).all())
        joint = settings.outputs == "correlated" and y.shape[-1] > 1
        return cls(
            data,
            (y - scales.y_shift) / scales.y_scale,
            scales,
            scales.y_scale[0].item() ** 2 if one and not joint else 1.0,
            # A mean whose coefficients nobody may choose is the one given: zero.
            Mean(settings.mean if settings.learns else "zero", scales.x_shift, scales.x_scale),
            _together(y) if joint or gradients is not None else _groups(~y.isnan()),
            gradients,
        )

    def extended(self, data: Training) -> "Problem":
        """The same with other rows, at the same scales."""
        y = data.y.double().reshape(len(data.y), -1)
        standard = (y - self.scales.y_shift) / self.scales.y_scale
        joint = len(self.groups) == 1 and bool(self.y.isnan().any())
        groups = _together(y) if joint else _groups(~y.isnan())
        return replace(self, data=data, y=standard, groups=groups)

    def regressions(
        self, kernel: Any, noise: Noise, settings: Settings, seed: int, rows: Tensor | None = None
    ) -> list[Regression]:
        """One for each group of outputs, of all rows or of some (those by Cholesky)."""
        if noise.per_output:
            return [self._coregional(rows)]
        if self.gradients is not None:
            return [self._with_gradients(rows)]
        return [
            self._regression(kernel, noise, settings, seed, outputs, _among(observed, rows), rows)
            for outputs, observed in self.groups
            if rows is None or len(_among(observed, rows))
        ]

    def _regression(
        self,
        kernel: Any,
        noise: Noise,
        settings: Settings,
        seed: int,
        outputs: Tensor,
        chosen: Tensor,
        part: Tensor | None,
    ) -> Regression:
        x, weights = self.data.x[chosen], self.data.weights
        covariance = choose_covariance(
            x,
            kernel,
            method=settings.method if part is None else "cholesky",
            unit=self.unit,
            one_noise=noise.is_one and weights is None,
            dtype=settings.dtype,
            seed=seed,
            distributed=settings.distributed,
        )
        parts = (
            x,
            self.y[chosen][:, outputs],
            self.mean,
            covariance,
            self.scales.y_scale[outputs],
            self.unit,
            None if weights is None else weights.double()[chosen],
            chosen,
        )
        if not isinstance(noise.module, StudentNoise):
            near = isinstance(covariance, VecchiaCovariance)
            return VecchiaRegression(*parts) if near else Regression(*parts)
        many = settings.method == "auto" and len(x) > LARGEST_DENSE
        if many or not isinstance(covariance, DenseCovariance):
            given = f"student_t for {len(x)} rows by {covariance.method}"
            remedy = (
                f'give up to {LARGEST_DENSE} rows, or method="cholesky", or use '
                'DKLGPRegressor(likelihood="student_t")'
            )
            raise ArgumentError("likelihood", given, remedy)
        return StudentRegression(*parts, noise_module=noise.module)

    def _coregional(self, rows: Tensor | None) -> Any:
        chosen = slice(None) if rows is None else rows
        x, y = self.data.x[chosen], self.y[chosen]
        covariance = CoregionalCovariance(x, ~y.isnan().mT)
        return CoregionalRegression(x, y, self.mean, covariance, self.scales.y_scale)

    def _with_gradients(self, rows: Tensor | None) -> Regression:
        assert self.gradients is not None
        chosen = slice(None) if rows is None else rows
        x, y = self.data.x[chosen], self.y[chosen]
        slopes = self.gradients[chosen] * self.scales.x_scale / self.scales.y_scale
        columns = [y[:, 0], *slopes.unbind(dim=-1)]
        seen = [(~column.isnan()).nonzero().flatten() for column in columns]
        blocks = [(None if j == 0 else j - 1, where) for j, where in enumerate(seen) if len(where)]
        observations = Observations(blocks, self.scales.x_scale)
        targets = torch.cat([column[where] for column, where in zip(columns, seen, strict=True)])
        covariance = GradientCovariance(x, observations, self.unit)
        return GradientRegression(
            x, targets.unsqueeze(-1), self.mean, covariance, self.scales.y_scale, self.unit,
            observations=observations,
        )  # fmt: skip


def _together(y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """All outputs in one group, whichever rows they miss."""
    return [(torch.arange(y.shape[-1], device=y.device), torch.arange(len(y), device=y.device))]


def _groups(observed: Tensor) -> list[tuple[Tensor, Tensor]]:
    patterns, which = torch.unique(observed.mT, dim=0, return_inverse=True)
    return [
        ((which == i).nonzero().flatten(), pattern.nonzero().flatten())
        for i, pattern in enumerate(patterns)
    ]


def _among(rows: Tensor, chosen: Tensor | None) -> Tensor:
    return rows if chosen is None else rows[torch.isin(rows, chosen)]
