"""From logits on the network's grid to labels at the image's own size."""

import numpy as np
import numpy.typing as npt

from handler import aten
from handler.geometry import Size
from handler.grid import find_neighbours
from handler.masks.upper_envelope import Indices, label_lines

LabelMap = npt.NDArray[np.unsignedinteger]


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """Return class probabilities C×h×w: the softmax over the first dimension of `logits` divided by `temperature`.

    Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2. The order of the classes does not depend on it.
    """
    return aten.softmax(logits if temperature == 1 else logits / temperature)


def calibrate(probabilities: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Return what `softmax` at `temperature` would make of the logits of `probabilities`, C×h×w.

    A mean over several views has no logits, but its logarithm serves as such.
    """
    if temperature == 1:
        return probabilities
    # Where a class has no probability, the logarithm is minus infinity, and so it stays without.
    return aten.softmax(aten.log(probabilities) / temperature)


def make_label_map(scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike) -> LabelMap:
    """Interpolate `scores` (C×h×w) bilinearly to `size`, then return the argmax of each pixel, H×W of `dtype`.

    Only pixels between two grid points with different winners are computed: along a line scores are linear between grid
    points, so a class that wins at both ends wins all the way. First the grid's columns are labelled, then the image's rows.
    """
    height, width = size
    classes, rows, columns = scores.shape
    points = np.ascontiguousarray(scores.reshape(classes, -1).T)
    winners = points.argmax(axis=1).astype(dtype).reshape(rows, columns)
    above, below, weight = find_neighbours(rows, height)

    def on_grid(column: Indices, row: Indices) -> npt.NDArray[np.float32]:
        taken: npt.NDArray[np.float32] = points.take(row * columns + column, axis=0)
        return taken

    def between_rows(row: Indices, column: Indices) -> npt.NDArray[np.float32]:
        upper, lower = on_grid(column, above[row]), on_grid(column, below[row])
        return upper + (lower - upper) * weight[row, None]

    on_columns = np.ascontiguousarray(label_lines(winners.T, on_grid, classes, height).T)
    return label_lines(on_columns, between_rows, classes, width)
