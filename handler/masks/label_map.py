"""Turn logits on the network's grid into labels at the image's size."""

import numpy as np
import numpy.typing as npt

from handler import aten
from handler.geometry import Size
from handler.grid import find_neighbours
from handler.masks.upper_envelope import Indices, label_lines

LabelMap = npt.NDArray[np.unsignedinteger]


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """Return class probabilities C×h×w: the softmax over the first dimension of `logits` divided by `temperature`.

    Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2. The order of the classes stays the same.
    """
    return aten.softmax(logits if temperature == 1 else logits / temperature)


def calibrate(probabilities: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Rescale `probabilities`, C×h×w, as if `softmax` had been applied at `temperature`.

    A mean over several views has no logits, so its logarithm is used instead.
    """
    if temperature == 1:
        return probabilities
    # A probability of 0 has the logarithm minus infinity, and so remains 0.
    return aten.softmax(aten.log(probabilities) / temperature)


def make_label_map(scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike) -> LabelMap:
    """Interpolate `scores` (C×h×w) bilinearly to `size`, then return the argmax of each pixel, H×W of `dtype`.

    Only pixels between two grid points with different winners are computed: along a line, scores are linear between grid
    points, so a class that wins at both ends wins in between. First the grid's columns are labelled, then the image's rows.
    """
    height, width = size
    classes, rows, columns = scores.shape
    points = np.ascontiguousarray(scores.reshape(classes, -1).T)
    winners = points.argmax(axis=1).astype(dtype).reshape(rows, columns)
    above, below, weight = find_neighbours(rows, height)

    def scores_on_grid(column: Indices, row: Indices) -> npt.NDArray[np.float32]:
        grid_scores: npt.NDArray[np.float32] = points.take(row * columns + column, axis=0)
        return grid_scores

    def scores_between_rows(row: Indices, column: Indices) -> npt.NDArray[np.float32]:
        upper, lower = scores_on_grid(column, above[row]), scores_on_grid(column, below[row])
        return upper + (lower - upper) * weight[row, None]

    column_labels = np.ascontiguousarray(label_lines(winners.T, scores_on_grid, classes, height).T)
    return label_lines(column_labels, scores_between_rows, classes, width)
