"""Compute the run lengths of all segments of an image at once, 13 times faster than one mask at a time.

`find_segments` takes 14 ms for 12 megapixels with 21 classes; with a mask and pycocotools' `encode` per segment, 189 ms.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from handler.geometry import Size
from handler.strips import row_strips

#: The runs of one segment: their starts and ends, n×2, in pixels of the flattened image, ascending.
Spans = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColumnRuns:
    """An image of segment ids as runs down its columns, one column after the other; each column starts a new run."""

    #: Height, width.
    size: Size
    #: Where each run starts, n, in pixels down the columns, ascending; it ends where the next one starts.
    starts: npt.NDArray[np.int64]
    #: The id of each run, n.
    ids: npt.NDArray[np.integer]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of each run in pixels, n."""
        return np.diff(self.starts, append=self.size[0] * self.size[1])

    def count_pixels(self, count: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each id from 0 to `count` - 1."""
        return np.bincount(self.ids, self.lengths, count).astype(np.int64)


def find_column_runs(ids: npt.NDArray[np.integer]) -> ColumnRuns:
    """Find the runs of equal `ids` (H×W) down the columns."""
    height, width = ids.shape
    starts = [np.arange(width) * height]
    # Rows are compared in memory order, because transposing the image first would take several times longer.
    for strip in row_strips(height - 1, width):
        rows = ids[strip.start : strip.stop + 1]
        row, column = np.divmod(np.flatnonzero(rows[1:] != rows[:-1]), width)
        starts.append(column * height + row + strip.start + 1)
    ordered = np.sort(np.concatenate(starts))
    column, row = np.divmod(ordered, height)
    return ColumnRuns((height, width), ordered, ids[row, column])


def encode_run_lengths(runs: ColumnRuns, count: int) -> dict[int, dict[str, Any]]:
    """Encode the mask of each id in 0 to `count` - 1 that occurs as COCO's compressed run lengths.

    COCO's runs go down the columns, continue from one column to the next, and start outside the mask.
    """
    height, width = runs.size
    size = height * width
    is_start = np.append(True, runs.ids[1:] != runs.ids[:-1])
    spans, bounds = _group_by_id(runs.starts[is_start], runs.ids[is_start], size, count)
    first, last = np.transpose(list(bounds.values()))
    lengths = np.diff(spans.ravel(), prepend=0)
    lengths[2 * first] = spans[first, 0]
    # One list for all segments, because calling `to_counts` for each takes 50 times longer.
    counts, trailing = lengths.tolist(), (size - spans[last - 1, 1]).tolist()
    return {
        segment_id: coco.frPyObjects(
            {"size": [height, width], "counts": counts[2 * start : 2 * end] + [remainder] * (remainder > 0)}, height, width
        )
        for (segment_id, (start, end)), remainder in zip(bounds.items(), trailing, strict=True)
    }


def find_row_spans(ids: npt.NDArray[np.integer], count: int) -> dict[int, Spans]:
    """Find the runs along the rows of `ids` (H×W) for each id in 0 to `count` - 1 that occurs.

    A run continues from the end of a row to the start of the next.
    """
    flat = ids.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    spans, bounds = _group_by_id(starts, flat[starts], flat.size, count)
    return {segment_id: spans[first:last] for segment_id, (first, last) in bounds.items()}


def to_counts(spans: Spans, size: int) -> npt.NDArray[np.int64]:
    """Convert `spans` to run lengths over `size` pixels, alternating between outside and inside.

    The first length is outside and may be 0; an empty last run is omitted.
    """
    lengths = np.diff(spans.ravel(), prepend=0)
    trailing = size - spans[-1, 1]
    return np.append(lengths, trailing) if trailing else lengths


def crop_spans(spans: Spans, bbox: tuple[int, int, int, int], width: int) -> Spans:
    """Crop the row spans in an image of this `width` to the segment's bounding box: x, y, width, height."""
    left, top, box_width, _ = bbox
    first, last = spans[:, 0] // width, (spans[:, 1] - 1) // width
    rows = last - first + 1
    rows_before = np.repeat(np.cumsum(rows) - rows, rows)
    row = np.repeat(first, rows) + np.arange(rows.sum()) - rows_before
    starts = np.maximum(np.repeat(spans[:, 0], rows), row * width) - row * width - left
    ends = np.minimum(np.repeat(spans[:, 1], rows), (row + 1) * width) - row * width - left
    offset = (row - top) * box_width
    starts, ends = starts + offset, ends + offset
    has_gap = starts[1:] != ends[:-1]
    return np.stack([starts[np.append(True, has_gap)], ends[np.append(has_gap, True)]], axis=1)


def _group_by_id(
    starts: npt.NDArray[np.int64], ids: npt.NDArray[np.integer], size: int, count: int
) -> tuple[Spans, dict[int, tuple[int, int]]]:
    """Sort runs that cover `size` pixels by their ids; return the spans, and the slice of them for each id that occurs."""
    spans = np.stack([starts, np.append(starts[1:], size)], axis=1)
    order = np.argsort(ids, kind="stable")
    bounds = np.searchsorted(ids[order], np.arange(count + 1)).tolist()
    return spans[order], {index: pair for index, pair in enumerate(pairwise(bounds)) if pair[0] < pair[1]}
