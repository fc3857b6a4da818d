"""Arrays that a client can request by name, in addition to the formatted answer or instead of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.labels import Labels
from handler.masks.confidence import interpolate_confidence
from handler.masks.segmentation import Segmentation


@dataclass(frozen=True)
class NamedArray:
    """One array that an answer can contain."""

    compute: Callable[[Segmentation], npt.NDArray[np.generic]]
    dtype: Callable[[Labels], npt.DTypeLike]
    #: The sides; -1 for those that depend on the image.
    shape: Callable[[Labels], tuple[int, ...]]
    #: The number of values, given the image's pixels and the probabilities on the network's grid (C·h·w).
    value_count: Callable[[int, int], int]

    def byte_count(self, labels: Labels, pixels: int, probabilities: int) -> int:
        """Return its size in bytes; `pixels` and `probabilities` are the arguments of `value_count`."""
        return self.value_count(pixels, probabilities) * np.dtype(self.dtype(labels)).itemsize


def confidence_map(result: Segmentation) -> npt.NDArray[np.float32]:
    """Return the probability of each pixel's class, float32 H×W in 0..1: what the format `confidence` rounds to 8 bits."""
    confidence = np.empty(result.label_map.shape, np.float32)
    for rows, values in interpolate_confidence(result):
        np.clip(values, 0, 1, out=confidence[rows])
    return confidence


ARRAYS: Mapping[str, NamedArray] = {
    "label_map": NamedArray(
        compute=lambda result: result.label_map,
        dtype=lambda labels: labels.dtype,
        shape=lambda _: (-1, -1),
        value_count=lambda pixels, _: pixels,
    ),
    "probabilities": NamedArray(
        compute=lambda result: result.probabilities,
        dtype=lambda _: np.float32,
        shape=lambda labels: (len(labels.names), -1, -1),
        value_count=lambda _, probabilities: probabilities,
    ),
    "confidence": NamedArray(
        compute=confidence_map,
        dtype=lambda _: np.float32,
        shape=lambda _: (-1, -1),
        value_count=lambda pixels, _: pixels,
    ),
}
