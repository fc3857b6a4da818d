"""From logits on the network's grid to labels at the image's own size."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from handler.geometry import DecodedImage, RGBImage, Size
from handler.inference import softmax
from handler.labels import Labels
from handler.refine import RefinementReport

LabelMap = npt.NDArray[np.unsignedinteger]

#: Interpolated scores held at once. The whole image's would be 5 GB for 64 megapixels of 21 classes.
_VALUES_AT_ONCE = 1 << 23


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


def segmentation(image: DecodedImage, logits: npt.NDArray[np.float32], labels: Labels) -> Segmentation:
    """Label `image` by `logits` (C×h×w): the interpolated logits decide."""
    return Segmentation(image.photograph, label_map(logits, image.size, labels.dtype), softmax(logits), labels)


def segmentation_by_probability(
    image: DecodedImage, probabilities: npt.NDArray[np.float32], labels: Labels, refinement: RefinementReport | None = None
) -> Segmentation:
    """Label `image` by `probabilities` (C×h×w): the interpolated probabilities decide.

    Between the grid's cells their argmax is not always that of interpolated logits; but a mean over views, or what a
    refinement gives, has no logits.
    """
    winners = label_map(probabilities, image.size, labels.dtype)
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


def label_map(scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike) -> LabelMap:
    """The winning class of each pixel: `scores` C×h×w interpolated bilinearly to `size`, then argmaxed.

    Labels themselves are never resized, and there is one interpolation, from the network's grid to the image.
    """
    height, width = size
    classes = scores.shape[0]
    grid = torch.from_numpy(scores)
    labels = np.empty(size, dtype)
    strip = max(1, _VALUES_AT_ONCE // (classes * width))
    for start in range(0, height, strip):
        rows = _interpolated_rows(grid, range(start, min(start + strip, height)), height)
        # Its rows are in place; only the columns are left to interpolate. max() is several times faster than argmax().
        values = F.interpolate(rows[None], (rows.shape[1], width), mode="bilinear", align_corners=False)[0]
        labels[start : start + strip] = values.max(dim=0).indices.numpy()
    return labels


def confidence_rows(result: Segmentation) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """The probability of each pixel's own class, interpolated from the network's grid, a strip of rows at a time."""
    height, width = result.label_map.shape
    _, grid_height, grid_width = result.probabilities.shape
    top, bottom, down = _neighbours(grid_height, height)
    left, right, across = _neighbours(grid_width, width)
    flat = result.probabilities.ravel()
    strip = max(1, _VALUES_AT_ONCE // (4 * width))
    for start in range(0, height, strip):
        rows = slice(start, min(start + strip, height))
        plane = result.label_map[rows].astype(np.int64) * (grid_height * grid_width)
        upper, lower = plane + top[rows, None] * grid_width, plane + bottom[rows, None] * grid_width
        above = flat[upper + left] * (1 - across) + flat[upper + right] * across
        below = flat[lower + left] * (1 - across) + flat[lower + right] * across
        yield rows, above * (1 - down[rows, None]) + below * down[rows, None]


def _neighbours(cells: int, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `length` pixels over `cells`: the cells on either side of its centre, and the weight of the second."""
    position = np.maximum((np.arange(length) + 0.5) * (cells / length) - 0.5, 0)
    first = np.minimum(position.astype(np.int64), cells - 1)
    return first, np.minimum(first + 1, cells - 1), (position - first).astype(np.float32)


def _interpolated_rows(grid: torch.Tensor, rows: range, height: int) -> torch.Tensor:
    """`grid` C×h×w interpolated down to the given rows of an image of `height`: C×len(rows)×w."""
    above, below, weight = (torch.from_numpy(values[rows.start : rows.stop]) for values in _neighbours(grid.shape[1], height))
    return torch.lerp(grid[:, above], grid[:, below], weight[:, None])
