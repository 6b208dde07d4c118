"""What the columns of X mean to a covariance: places on a plane, on a sphere, or in time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernelgp.errors import ArgumentError

__all__ = ["COORDINATES", "Coordinates"]

COORDINATES = ("euclidean", "space-time", "spherical")

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """From the columns of X to columns whose distances are straight lines.

    Attributes
    ----------
    kind : "euclidean", "space-time" or "spherical"
        With "space-time" all columns but the last one share a lengthscale. With "spherical" the
        first two are latitude and longitude in degrees and become three, a point of the unit
        sphere, which share one: it is a chord, in radians for short ones (times 6371 in km).
        Every other column has its own.
    """

    kind: str

    def check(self, X: Array) -> None:
        """Refuse columns that are no such coordinates."""
        if self.kind == "euclidean":
            return
        if X.shape[1] < 2:
            what = "latitude and longitude" if self.kind == "spherical" else "places, then time"
            given = f"1 column with coordinates={self.kind!r}"
            raise ArgumentError("X", given, f"give {what}")
        if self.kind == "spherical":
            for k, (name, most) in enumerate({"latitudes": 90.0, "longitudes": 360.0}.items()):
                if np.abs(X[:, k]).max() > most:
                    given = f"{name} from {X[:, k].min():g} to {X[:, k].max():g} in column {k}"
                    raise ArgumentError("X", given, f"give degrees from {-most:g} to {most:g}")

    def embed(self, X: Array) -> Array:
        """Shape (n, d), or (n, d + 1) from a sphere.

        Examples
        --------
        >>> Coordinates("spherical").embed(np.array([[90.0, 12.0, 5.0]])).round(6)
        array([[0., 0., 1., 5.]])
        """
        if self.kind != "spherical":
            return X
        latitude, longitude = np.radians(X[:, 0]), np.radians(X[:, 1])
        ring = np.cos(latitude)
        place = ring * np.cos(longitude), ring * np.sin(longitude), np.sin(latitude)
        return np.column_stack([*place, X[:, 2:]])

    def groups(self, d: int) -> NDArray[np.int64] | None:
        """Which lengthscale each of d embedded columns has; None where each has its own."""
        if self.kind == "euclidean":
            return None
        if self.kind == "spherical":
            return np.maximum(np.arange(d) - 2, 0)
        return (np.arange(d) == d - 1).astype(np.int64)
