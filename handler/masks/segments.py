"""Find the segments of a label map: classes or connected components, with mask, bounding box, size and score."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from handler.errors import ResponseTooLarge
from handler.geometry import Size
from handler.limits import MAX_MASK_PIXELS
from handler.masks.components import label_components
from handler.masks.confidence import sum_over_runs
from handler.masks.run_lengths import encode_run_lengths, find_column_runs
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions


@dataclass(frozen=True)
class Segment:
    """One segment of an image."""

    #: Its pixels' value in `Segments.ids`.
    id: int
    class_index: int
    #: Class name.
    label: str
    pixels: int
    #: Share of the image, 0..1.
    fraction: float
    #: x, y, width, height in pixels.
    bbox: tuple[int, int, int, int]
    #: Mean interpolated probability of its class over its pixels, 0..1.
    score: float
    #: The mask as COCO's compressed run lengths.
    counts: bytes


@dataclass(frozen=True)
class Segments:
    """The segments of one image."""

    #: Segment id of each pixel, unsigned or int32 H×W; includes segments that `items` omits.
    ids: npt.NDArray[np.integer]
    #: Largest first, background last.
    items: tuple[Segment, ...]

    @property
    def size(self) -> Size:
        """Height, width."""
        return self.ids.shape[0], self.ids.shape[1]

    def mask(self, segment: Segment) -> npt.NDArray[np.bool_]:
        """Return the mask of `segment`, H×W at the image's size."""
        mask: npt.NDArray[np.bool_] = self.ids == segment.id
        return mask

    def masks(self) -> Iterator[tuple[Segment, npt.NDArray[np.bool_]]]:
        """Yield each segment with its mask, H×W at the image's size.

        Raises:
            ResponseTooLarge: the masks together exceed `MAX_MASK_PIXELS`.
        """
        pixels = len(self.items) * self.ids.size
        if pixels > MAX_MASK_PIXELS:
            raise ResponseTooLarge(
                f"the masks of {len(self.items):,} segments, each of the image's size, have {pixels:,} pixels, "
                f"the limit is {MAX_MASK_PIXELS:,}; ask for run lengths or polygons"
            )
        for segment in self.items:
            yield segment, self.mask(segment)


def find_segments(result: Segmentation, options: AnswerOptions) -> Segments:
    """Find the classes or connected components of `result` that score at least `options.min_score`.

    Raises:
        ResponseTooLarge: the outlines of the components exceed `MAX_OUTLINE_EDGES`.
    """
    ids, class_indices = _label_segments(result, options)
    runs = find_column_runs(ids)
    pixels = runs.count_pixels(len(class_indices))
    sums = np.bincount(runs.ids, sum_over_runs(result.probabilities, runs, class_indices[runs.ids]), len(class_indices))
    segment_ids = np.flatnonzero(pixels)
    scores = np.fmin(1.0, sums[segment_ids] / pixels[segment_ids])
    segment_ids, scores = segment_ids[scores >= options.min_score], scores[scores >= options.min_score]
    order = np.lexsort((-pixels[segment_ids], class_indices[segment_ids] == result.labels.background))
    segment_ids, scores = segment_ids[order], scores[order]
    masks = encode_run_lengths(runs, len(class_indices))
    # Convert whole columns, because NumPy scalars or a call per segment would take several times longer.
    columns = (segment_ids, class_indices[segment_ids], pixels[segment_ids], pixels[segment_ids] / ids.size, scores)
    listed_masks = [masks[segment_id] for segment_id in segment_ids.tolist()]
    boxes = coco.toBbox(listed_masks).astype(np.int64).tolist() if listed_masks else []
    items = tuple(
        Segment(segment_id, index, result.labels.names[index], size, fraction, tuple(box), score, masks[segment_id]["counts"])
        for segment_id, index, size, fraction, score, box in zip(*(column.tolist() for column in columns), boxes, strict=True)
    )
    return Segments(ids, items)


def find_objects(result: Segmentation, options: AnswerOptions) -> Segments:
    """Find the same segments as `find_segments`, except background, which annotation formats omit."""
    segments, background = find_segments(result, options), result.labels.background
    return replace(segments, items=tuple(segment for segment in segments.items if segment.class_index != background))


def _label_segments(result: Segmentation, options: AnswerOptions) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
    """Return the segment id of each pixel, H×W, and the class of each id."""
    if options.components:
        return label_components(result.label_map, result.labels.background)
    return result.label_map, np.arange(len(result.labels.names))
