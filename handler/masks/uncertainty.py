"""Measure how uncertain each pixel's label is, 0..1, from the probabilities of all classes."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from handler import aten
from handler.geometry import Size
from handler.grid import find_neighbours
from handler.masks.segmentation import Segmentation
from handler.options import Uncertainty
from handler.strips import row_strips

Plane = npt.NDArray[np.float32]

#: Uncertainty is computed at this many points along each side of a grid cell, which may have 16 times as many pixels.
_POINTS_PER_CELL = 4
#: Interpolated probabilities in memory at once: 16 MB.
_VALUES_AT_ONCE = 1 << 22
_PIXELS_AT_ONCE = 1 << 17


def _margin(probabilities: Plane) -> Plane:
    second, first = np.partition(probabilities, -2, axis=0)[-2:]
    uncertainty: Plane = 1 - (first - second)
    return uncertainty


def _entropy(probabilities: Plane) -> Plane:
    # A probability of 0 contributes nothing, although its logarithm is infinite.
    logarithms = aten.log(np.where(probabilities > 0, probabilities, 1))
    uncertainty: Plane = -(probabilities * logarithms).sum(axis=0) / math.log(len(probabilities))
    return uncertainty


#: Functions from class probabilities C×h×w to uncertainty h×w: 1 minus the lead of the most probable class over the second, or
#: the entropy divided by its maximum, ln C.
MEASURES: Mapping[Uncertainty, Callable[[Plane], Plane]] = {"margin": _margin, "entropy": _entropy}


def interpolate_uncertainty(result: Segmentation, measure: Uncertainty) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Yield strips of rows with each pixel's uncertainty, float32 h×W in 0..1 up to rounding.

    The probabilities are interpolated to a grid four times as fine as the network's, or to the image's pixels if there are
    fewer of them; uncertainty is computed there and interpolated to the pixels.
    """
    height, width = result.label_map.shape
    _, grid_height, grid_width = result.probabilities.shape
    rows, columns = min(_POINTS_PER_CELL * grid_height, height), min(_POINTS_PER_CELL * grid_width, width)
    plane = _measure_on_grid(result.probabilities, (rows, columns), MEASURES[measure])
    above, below, row_weights = find_neighbours(rows, height)
    left, right, column_weights = find_neighbours(columns, width)
    for strip in row_strips(height, width, _PIXELS_AT_ONCE):
        lines = plane[above[strip]] + (plane[below[strip]] - plane[above[strip]]) * row_weights[strip, None]
        yield strip, lines[:, left] + (lines[:, right] - lines[:, left]) * column_weights


def _measure_on_grid(probabilities: Plane, size: Size, measure: Callable[[Plane], Plane]) -> Plane:
    """Return `measure` of `probabilities`, C×h×w, interpolated to `size`; in strips, because there may be many classes."""
    rows, columns = size
    above, below, row_weights = find_neighbours(probabilities.shape[1], rows)
    plane = np.empty(size, np.float32)
    for strip in row_strips(rows, len(probabilities) * columns, _VALUES_AT_ONCE):
        on_rows = aten.lerp(probabilities[:, above[strip]], probabilities[:, below[strip]], row_weights[strip, None])
        # Only the columns still need interpolation.
        plane[strip] = measure(aten.interpolate(on_rows, (on_rows.shape[1], columns)))
    return plane
