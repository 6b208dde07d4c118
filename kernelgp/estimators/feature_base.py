"""What the estimators on random features share: their map, in and out of a file."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernelgp.estimators.base import Scales, Training, as_kernel, check_choice, rescaled_start
from kernelgp.features.coupling import COUPLINGS, ROTATIONS
from kernelgp.features.fourier_map import FourierMap
from kernelgp.features.sampler import read_kernel
from kernelgp.kernels import RBF

__all__ = ["MapState", "centred", "draw_map", "start_kernel"]


class MapState:
    """A fitted map as a kernel and arrays: what pickles, clones and files hold.

    Mixed into an estimator, whose `fit` calls `_keep_map`.
    """

    kernel_: Any
    n_components: int
    coupling: Any
    rotation: Any
    map: Any

    def _keep_map(self, mapping: FourierMap) -> None:
        self.kernel_ = mapping.frequencies.kernel
        state = mapping.state_dict()
        self._draws = {
            name: value.cpu().numpy()
            for name, value in state.items()
            if not name.startswith("frequencies.kernel.")
        }
        self._map_shape = (mapping.d, mapping.n_components)

    @property
    def frequencies_(self) -> NDArray[np.float64]:
        """In cycles per unit of the inputs, shape (n_frequencies, d)."""
        with torch.no_grad():
            return self._rebuild_map().frequencies().cpu().numpy()

    def _rebuild_map(self, device: torch.device | str = "cpu") -> FourierMap:
        d, n = self._map_shape
        mapping = draw_map(self, self.kernel_, d, n, torch.Generator())
        values = {name: torch.from_numpy(np.array(a)) for name, a in self._draws.items()}
        mapping.load_state_dict(values, strict=False)
        return mapping.to(device)


def draw_map(settings: Any, kernel: Any, d: int, n: int, generator: torch.Generator) -> FourierMap:
    """A map by the parameters of an estimator."""
    check_choice("coupling", settings.coupling, COUPLINGS)
    check_choice("rotation", settings.rotation, ROTATIONS)
    check_choice("map", settings.map, ["sincos", "cos"])
    return FourierMap(kernel, d, n, settings.coupling, settings.rotation, settings.map, generator)


def start_kernel(given: Any, data: Training, scales: Scales, spread: float) -> Any:
    """The kernel to begin with, in the user's units: ARD RBF of the data's spread by default."""
    kernel = as_kernel(given, scales.x_scale, default=RBF)
    if given is None:
        kernel = rescaled_start(kernel, torch.ones_like(scales.x_scale), spread)
    return read_kernel(kernel, data.x.shape[-1])


def centred(data: Training, mean: str) -> tuple[Tensor, Tensor]:
    """Targets (n, k) float64 less their constant mean, and that, (k,)."""
    targets = data.y.reshape(len(data.y), -1).double()
    if mean == "zero":
        return targets, targets.new_zeros(targets.shape[1])
    shift = Scales.of(data, normalize_x=False, normalize_y=True).y_shift.to(targets.device)
    return targets - shift, shift
