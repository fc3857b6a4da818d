"""From logits on the network's grid to labels at the image's own size."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from handler.geometry import DecodedImage, RGBImage, Size
from handler.grid import neighbours
from handler.labels import Labels
from handler.masks.refinement import RefinementReport
from handler.masks.upper_envelope import Indices, label_lines

LabelMap = npt.NDArray[np.unsignedinteger]
#: `label_map`, or what does the same.
Labeller = Callable[[npt.NDArray[np.float32], Size, npt.DTypeLike], LabelMap]


@dataclass(frozen=True)
class Segmentation:
    """The answer for one image, before it takes any format."""

    #: The upright image, H×W×3; None, where only a smaller copy of it was decoded.
    image: RGBImage | None
    #: Class indices, H×W, of the size of the image.
    label_map: LabelMap
    #: Of the classes on the grid that `label_map` was interpolated from (the network's, or the refinement's), float32 C×h×w.
    probabilities: npt.NDArray[np.float32]
    labels: Labels
    #: What refined the probabilities; None: nothing did.
    refinement: RefinementReport | None = None


def segmentation(
    image: DecodedImage, logits: npt.NDArray[np.float32], labels: Labels, label: Labeller | None = None
) -> Segmentation:
    """Label `image` by `logits` (C×h×w): the interpolated logits decide. `label` None: by `label_map`."""
    winners = (label or label_map)(logits, image.size, labels.dtype)
    return Segmentation(image.photograph, winners, softmax(logits), labels)


def segmentation_by_probability(
    image: DecodedImage,
    probabilities: npt.NDArray[np.float32],
    labels: Labels,
    refinement: RefinementReport | None = None,
    label: Labeller | None = None,
) -> Segmentation:
    """Label `image` by `probabilities` (C×h×w): the interpolated probabilities decide.

    Between the grid's cells their argmax is not always that of interpolated logits; but a mean over views, or what a
    refinement gives, has no logits. `label` None: by `label_map`.
    """
    winners = (label or label_map)(probabilities, image.size, labels.dtype)
    return Segmentation(image.photograph, winners, probabilities, labels, refinement)


def reported(result: Segmentation, classes: Collection[int]) -> Segmentation:
    """`result` where all other classes than `classes` are background, and have given their probabilities to it.

    A label set without background gets one, as its last class.
    """
    labels, background = result.labels.with_background()
    kept = [index for index in classes if index != background]
    given_up = [index for index in range(len(result.labels.names)) if index not in kept]
    becomes = np.full(len(labels.names), background, labels.dtype)
    becomes[kept] = kept
    probabilities = np.zeros((len(labels.names), *result.probabilities.shape[1:]), np.float32)
    probabilities[kept] = result.probabilities[kept]
    probabilities[background] = result.probabilities[given_up].sum(axis=0)
    return replace(result, label_map=becomes[result.label_map], probabilities=probabilities, labels=labels)


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of the classes, the first dimension of `logits` C×h×w."""
    probabilities: npt.NDArray[np.float32] = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    return probabilities


def label_map(scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike) -> LabelMap:
    """The winning class of each pixel: `scores` C×h×w interpolated bilinearly to `size`, then argmaxed.

    Labels themselves are never resized, and there is one interpolation, from the network's grid to the image. It is made
    where neighbouring winners differ: down the grid's columns first, then along the image's rows. In both directions scores are
    linear between the grid's points, so a class that wins at two of them wins all the way from one to the other.
    """
    height, width = size
    classes, rows, columns = scores.shape
    points = np.ascontiguousarray(scores.reshape(classes, -1).T)
    winners = points.argmax(axis=1).astype(dtype).reshape(rows, columns)
    above, below, weight = neighbours(rows, height)

    def on_grid(column: Indices, row: Indices) -> npt.NDArray[np.float32]:
        return points.take(row * columns + column, axis=0)

    def between_rows(row: Indices, column: Indices) -> npt.NDArray[np.float32]:
        upper, lower = on_grid(column, above[row]), on_grid(column, below[row])
        return upper + (lower - upper) * weight[row, None]

    on_columns = np.ascontiguousarray(label_lines(winners.T, on_grid, classes, height).T)
    return label_lines(on_columns, between_rows, classes, width)
