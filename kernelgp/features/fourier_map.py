"""Waves of random frequencies: the map of Rahimi and Recht, in its two forms.

References
----------
A. Rahimi and B. Recht, *Random features for large-scale kernel machines*, 2007; D. J. Sutherland
and J. Schneider, *On the error of random Fourier features*, 2015, on why pairs vary less.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from kernelgp.features.coupling import Coupling, Rotation
from kernelgp.features.frequencies import Frequencies
from kernelgp.features.map import FeatureMap, Features

__all__ = ["FourierMap", "Waveform"]

Waveform = Literal["sincos", "cos"]

# Entries of a block of angles: half a megabyte in float32.
_CACHED = 2**17


class FourierMap(FeatureMap):
    """``a cos(2π f·x), a sin(2π f·x)``, or ``a √2 cos(2π f·x + b)`` for phases b.

    An odd number of columns of the first form ends with one of the second.

    Parameters
    ----------
    kernel : Kernel
        As `kernelgp.features.sampler.read_kernel` returns it.
    d, n_components
    coupling, rotation
        As for `sample_frequencies`.
    waveform : {"sincos", "cos"}
    generator
    """

    phases: Tensor

    def __init__(
        self,
        kernel: Any,
        d: int,
        n_components: int,
        coupling: Coupling,
        rotation: Rotation,
        waveform: Waveform,
        generator: torch.Generator,
    ) -> None:
        super().__init__(d, n_components)
        self.n_pairs = n_components // 2 if waveform == "sincos" else 0
        n_single = n_components - 2 * self.n_pairs
        columns = torch.ones(self.n_pairs + n_single, dtype=torch.float64)
        columns[: self.n_pairs] = 2
        self.frequencies = Frequencies(kernel, d, columns, coupling, rotation, generator)
        self.register_buffer("phases", _phases(n_single, generator))

    @override
    def draw_anew(self, generator: torch.Generator) -> None:
        self.frequencies.redraw(generator)
        self.phases.copy_(_phases(len(self.phases), generator))

    @override
    def prepare(self, like: Tensor) -> Features:
        project = self.frequencies.projection(like)
        amplitudes = self.frequencies.amplitudes().to(like)
        phases, pairs = self.phases.to(like), self.n_pairs
        if like.device.type == "cpu" and not torch.is_grad_enabled():
            return _Filler(project, amplitudes, phases, pairs)

        def features(x: Tensor) -> Tensor:
            angles = project(x)
            paired = angles[..., :pairs]
            parts = [amplitudes[:pairs] * paired.cos(), amplitudes[:pairs] * paired.sin()]
            if len(phases):
                single = math.sqrt(2) * amplitudes[pairs:] * (angles[..., pairs:] + phases).cos()
                parts.append(single)
            return torch.cat(parts, dim=-1)

        return features


@dataclass(frozen=True, slots=True, eq=False)
class _Filler:
    """The same numbers without a graph, a block of rows in cache at a time.

    numpy's cosines of float32 take a sixth of the time of torch's (measured with AVX-512: 0.6 and
    3.5 ns), and both write where the features are wanted.
    """

    project: Features
    amplitudes: Tensor
    phases: Tensor
    pairs: int

    def __call__(self, x: Tensor) -> Tensor:
        result = x.new_empty(*x.shape[:-1], 2 * self.pairs + len(self.phases))
        self.fill(x.reshape(-1, x.shape[-1]), result.reshape(-1, result.shape[-1]))
        return result

    def fill(self, x: Tensor, result: Tensor) -> None:
        """Write the features of the rows x, (n, d), to a tensor (n, n_components)."""
        pairs, ends = self.pairs, self.amplitudes[self.pairs :]
        scale = torch.cat([self.amplitudes[:pairs].repeat(2), math.sqrt(2) * ends])
        shift = self.phases.numpy()
        step = max(1, _CACHED // len(self.amplitudes))
        for start in range(0, len(x), step):
            angles = self.project(x[start : start + step]).numpy()
            out = result[start : start + step]
            waves = out.numpy()
            np.cos(angles[:, :pairs], out=waves[:, :pairs])
            np.sin(angles[:, :pairs], out=waves[:, pairs : 2 * pairs])
            if len(shift):
                np.cos(angles[:, pairs:] + shift, out=waves[:, 2 * pairs :])
            out *= scale


def _phases(n: int, generator: torch.Generator) -> Tensor:
    return 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
