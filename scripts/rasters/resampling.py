"""Resample rows and columns so that each output pixel depends only on its own position.

Because of rounding, Pillow's and GDAL's results depend on the part of the raster that is resized at once. Here a pixel's taps
and weights follow from its index from the raster's edge and are summed in a fixed order, so windows agree to the last bit.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from handler.geometry import RGBImage

_Values = npt.NDArray[np.uint8 | np.float32]


@dataclass(frozen=True)
class Resampling:
    """Bilinear resampling of one side from `pixels` to `network_pixels`: antialiased when shrinking, half-pixel centres."""

    pixels: int
    network_pixels: int

    @property
    def ratio(self) -> float:
        """Raster pixels per output pixel."""
        return self.pixels / self.network_pixels

    def sources(self, outputs: slice) -> slice:
        """Return the raster pixels on which the output pixels `outputs` depend."""
        if self.pixels == self.network_pixels:
            return outputs
        reach = max(1.0, self.ratio)
        first = math.floor((outputs.start + 0.5) * self.ratio - reach)
        last = math.ceil((outputs.stop - 0.5) * self.ratio + reach)
        return slice(max(0, first), min(self.pixels, last))

    def taps(self, outputs: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return, for each output pixel, the raster pixels that it averages, n×k, and their weights, which sum to 1."""
        reach = max(1.0, self.ratio)
        centre = (np.arange(outputs.start, outputs.stop) + 0.5) * self.ratio
        first = np.floor(centre - reach).astype(np.int64)
        index = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
        weights = np.maximum(1 - np.abs(index + 0.5 - centre[:, None]) / reach, 0)
        weights[(index < 0) | (index >= self.pixels)] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        return np.clip(index, 0, self.pixels - 1), weights.astype(np.float32)


def resample(image: RGBImage, rows: Resampling, columns: Resampling, outputs: tuple[slice, slice]) -> RGBImage:
    """Resample part of a raster to the output pixels `outputs` (rows, columns); return uint8 RGB h×w×3.

    Args:
        image: the raster pixels given by `sources` for both sides, uint8 RGB.
        rows: resampling of the raster's height.
        columns: resampling of the raster's width.
        outputs: the rows and columns to compute.
    """
    result: _Values = image
    for axis, side in ((0, rows), (1, columns)):
        if side.pixels != side.network_pixels:
            result = _resample_axis(result, side, outputs[axis], axis)
    if result is image:
        return image
    pixels: RGBImage = np.rint(result).astype(np.uint8)
    return pixels


def _resample_axis(values: _Values, side: Resampling, outputs: slice, axis: int) -> npt.NDArray[np.float32]:
    index, weights = side.taps(outputs)
    # Taps with weight 0 may lie beyond the pixels that were read.
    index = np.clip(index - side.sources(outputs).start, 0, values.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    total = np.zeros((), np.float32)
    for tap in range(index.shape[1]):
        total = total + np.take(values, index[:, tap], axis) * weights[:, tap].reshape(shape)
    return total
