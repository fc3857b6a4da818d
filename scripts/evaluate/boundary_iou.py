"""Boundary IoU (Cheng et al. 2021): how well segment edges agree, regardless of segment size."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.masks.label_map import LabelMap
from scripts.datasets import VOID

#: Width of a boundary region as a fraction of the image's diagonal (section 4.3).
WIDTH = 0.02


def boundary_counts(
    predicted: LabelMap, true: LabelMap, num_classes: int, width: float = WIDTH
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count pixels in the intersection and the union of the predicted and true boundary regions, by class.

    Void is cut out of both label maps (H×W) before boundaries are computed: predictions there do not count, and a mask that is
    right everywhere else has the same boundary as the truth.
    """
    valid = true != VOID
    predicted = np.where(valid, predicted, VOID)
    radius = max(1, round(width * math.hypot(*true.shape)))
    in_predicted, in_true = boundary_region(predicted, radius) & valid, boundary_region(true, radius) & valid
    intersection = _by_class(true[in_predicted & in_true & (predicted == true)], num_classes)
    area_sum = _by_class(predicted[in_predicted], num_classes) + _by_class(true[in_true], num_classes)
    return intersection, area_sum - intersection


def boundary_region(label_map: LabelMap, radius: int) -> npt.NDArray[np.bool_]:
    """Return the pixels that lose their class when each class's mask is eroded `radius` times by 3×3, bool H×W.

    This erosion is a minimum over a square of side 2·radius + 1, so a mask keeps a pixel if all labels in the square are equal.
    One minimum and one maximum over the label map therefore erode the masks of all classes at once. Pixels outside the image
    have no class.
    """
    padded = np.pad(label_map, radius, constant_values=VOID)
    region: npt.NDArray[np.bool_] = _square(np.minimum, padded, radius) != _square(np.maximum, padded, radius)
    return region


def _square(extreme: Callable[[Any, Any], Any], padded: LabelMap, radius: int) -> LabelMap:
    """Return the minimum or maximum over each square that fits into `padded`."""
    rows = _window(extreme, padded, 2 * radius + 1)
    return _window(extreme, rows.T, 2 * radius + 1).T


def _window(extreme: Callable[[Any, Any], Any], values: LabelMap, length: int) -> LabelMap:
    """Return the minimum or maximum over each `length` rows, in 1.0 ms per map instead of 5.5 ms with scipy.ndimage's filters.

    Windows double in length until they reach it.
    """
    reach = 1
    while reach < length:
        step = min(reach, length - reach)
        values = extreme(values[:-step], values[step:])
        reach += step
    return values


def _by_class(labels: LabelMap, num_classes: int) -> npt.NDArray[np.int64]:
    return np.bincount(labels, minlength=num_classes)
