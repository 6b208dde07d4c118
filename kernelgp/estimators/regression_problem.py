"""What a regression is given: settings that are checked, data that are standardised."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernelgp.estimators.base import Scales, Training
from kernelgp.gp.choose import Method, choose_covariance
from kernelgp.gp.regression import Mean, Regression

__all__ = ["Noise", "Problem", "Settings"]


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What the user asked for, checked.

    Attributes
    ----------
    noise : Tensor, shape () or (n,), or None to learn it
    likelihood : gpytorch likelihood or None
        One whose noise takes the place of `noise`.
    """

    kernel: Any
    noise: Tensor | None
    likelihood: Any
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


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """The variance of the noise in the user's units: learned, in a module, or fixed."""

    module: Any
    fixed: Tensor | None

    def value(self) -> Tensor:
        """Shape () or (n,), with a graph where it is learned."""
        if self.fixed is not None:
            return self.fixed
        return self.module.noise.double().reshape(())

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

    @classmethod
    def of(cls, data: Training, settings: Settings) -> "Problem":
        standardise = settings.learns and settings.normalize_y
        scales = Scales.of(data, normalize_x=settings.normalize_x, normalize_y=standardise)
        y = data.y.double().reshape(len(data.y), -1)
        if y.shape[-1] > 1 and settings.noise is not None:
            # One variance in the user's units must stay one.
            common = scales.y_scale.square().mean().sqrt().expand_as(scales.y_scale)
            scales = replace(scales, y_scale=common.clone())
        one = bool((scales.y_scale == scales.y_scale[0]).all())
        return cls(
            data,
            (y - scales.y_shift) / scales.y_scale,
            scales,
            scales.y_scale[0].item() ** 2 if one else 1.0,
            # A mean whose coefficients nobody may choose is the one given: zero.
            Mean(settings.mean if settings.learns else "zero", scales.x_shift, scales.x_scale),
            _groups(~y.isnan()),
        )

    def extended(self, data: Training) -> "Problem":
        """The same with other rows, at the same scales."""
        y = data.y.double().reshape(len(data.y), -1)
        standard = (y - self.scales.y_shift) / self.scales.y_scale
        return replace(self, data=data, y=standard, groups=_groups(~y.isnan()))

    def regressions(
        self, kernel: Any, noise: Noise, settings: Settings, seed: int, rows: Tensor | None = None
    ) -> list[Regression]:
        """One for each group of outputs, of all rows or of some (those by Cholesky)."""
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
        )
        return Regression(
            x,
            self.y[chosen][:, outputs],
            self.mean,
            covariance,
            self.scales.y_scale[outputs],
            self.unit,
            None if weights is None else weights.double()[chosen],
            chosen,
        )


def _groups(observed: Tensor) -> list[tuple[Tensor, Tensor]]:
    patterns, which = torch.unique(observed.mT, dim=0, return_inverse=True)
    return [
        ((which == i).nonzero().flatten(), pattern.nonzero().flatten())
        for i, pattern in enumerate(patterns)
    ]


def _among(rows: Tensor, chosen: Tensor | None) -> Tensor:
    return rows if chosen is None else rows[torch.isin(rows, chosen)]
