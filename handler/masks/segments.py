"""The segments of a label map, a class or one connected part of it each: mask, bounding box and figures."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from handler.errors import ResponseTooLarge
from handler.geometry import Size
from handler.masks import confidence
from handler.masks.components import label_components
from handler.masks.run_lengths import encode_run_lengths, find_column_runs
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions

#: Of masks that are written one by one: 10 seconds' worth on one slow core.
_MOST_MASK_PIXELS = 2_000_000_000


@dataclass(frozen=True)
class Segment:
    """One segment of an image."""

    #: What its pixels hold in `Segments.ids`.
    id: int
    #: Of its class.
    class_index: int
    #: Class name.
    label: str
    pixels: int
    #: Share of the image, 0..1.
    fraction: float
    #: x, y, width, height in pixels.
    bbox: tuple[int, int, int, int]
    #: Mean over the segment's pixels of its class's probability, interpolated from the network's grid; 0..1.
    score: float
    #: The mask as COCO's compressed run lengths.
    counts: bytes


@dataclass(frozen=True)
class Segments:
    """What an image is made of."""

    #: For each pixel of the image the `id` of its segment, listed in `items` or not; unsigned or int32 H×W.
    ids: npt.NDArray[np.integer]
    #: By falling number of pixels, background last.
    items: tuple[Segment, ...]

    @property
    def size(self) -> Size:
        """Height, width."""
        return self.ids.shape[0], self.ids.shape[1]

    def mask(self, segment: Segment) -> npt.NDArray[np.bool_]:
        """The mask of `segment`, H×W like the image."""
        mask: npt.NDArray[np.bool_] = self.ids == segment.id
        return mask

    def masks(self) -> Iterator[tuple[Segment, npt.NDArray[np.bool_]]]:
        """Each segment with its mask, H×W like the image.

        Raises:
            ResponseTooLarge: together they have so many pixels that a worker would be taken for dead before they are written.
        """
        pixels = len(self.items) * self.ids.size
        if pixels > _MOST_MASK_PIXELS:
            raise ResponseTooLarge(
                f"the masks of {len(self.items):,} segments, each of the image's size, have {pixels:,} pixels, "
                f"the limit is {_MOST_MASK_PIXELS:,}; ask for run lengths or polygons"
            )
        for segment in self.items:
            yield segment, self.mask(segment)


def find_segments(result: Segmentation, options: AnswerOptions) -> Segments:
    """The segments of `result` that `options` want listed."""
    classes = result.labels.names
    ids: npt.NDArray[np.integer]
    if options.components:
        ids, index_of = label_components(result.label_map, result.labels.background)
    else:
        ids, index_of = result.label_map, np.arange(len(classes))
    runs = find_column_runs(ids)
    pixels = runs.count_pixels(len(index_of))
    probability = np.bincount(runs.ids, confidence.sum_over_runs(result.probabilities, runs, index_of[runs.ids]), len(index_of))
    masks = encode_run_lengths(runs, len(index_of))
    present = np.flatnonzero(pixels)
    order = sorted(present, key=lambda each: (index_of[each] == result.labels.background, -pixels[each], each))
    scores = {each: float(min(1.0, probability[each] / pixels[each])) for each in order}
    items = tuple(
        Segment(
            id=int(each),
            class_index=int(index_of[each]),
            label=classes[index_of[each]],
            pixels=int(pixels[each]),
            fraction=float(pixels[each] / ids.size),
            bbox=_bounding_box(masks[each]),
            score=scores[each],
            counts=masks[each]["counts"],
        )
        for each in order
        if scores[each] >= options.min_score
    )
    return Segments(ids, items)


def find_objects(result: Segmentation, options: AnswerOptions) -> Segments:
    """As `find_segments`, without background, which no annotation names."""
    found = find_segments(result, options)
    return replace(found, items=tuple(each for each in found.items if each.class_index != result.labels.background))


def _bounding_box(runs: dict[str, object]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(value) for value in coco.toBbox(runs))
    return x, y, width, height
