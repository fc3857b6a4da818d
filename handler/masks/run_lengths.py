"""Run lengths of all segments of an image at once, without a mask for each."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from handler.geometry import Size
from handler.strips import row_strips

#: The runs of one segment: where each starts and where it ends, n×2, in pixels of the flattened image, ascending.
Spans = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColumnRuns:
    """An image of `ids` as runs of one id down its columns, one column after the other. None goes on in the next column."""

    #: Height, width.
    size: Size
    #: Where each begins, n, in pixels down the columns, ascending; each ends where the next begins.
    starts: npt.NDArray[np.int64]
    #: The id of each, n.
    ids: npt.NDArray[np.integer]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """In pixels, n."""
        return np.diff(self.starts, append=self.size[0] * self.size[1])

    def count_pixels(self, count: int) -> npt.NDArray[np.int64]:
        """Of each id from 0 to `count` - 1."""
        return np.bincount(self.ids, self.lengths, count).astype(np.int64)


def find_column_runs(ids: npt.NDArray[np.integer]) -> ColumnRuns:
    """The runs of `ids`, H×W."""
    height, width = ids.shape
    starts = [np.arange(width) * height]
    # Rows are compared in the order of memory: transposing the image first takes several times longer.
    for strip in row_strips(height - 1, width):
        rows = ids[strip.start : strip.stop + 1]
        row, column = np.divmod(np.flatnonzero(rows[1:] != rows[:-1]), width)
        starts.append(column * height + row + strip.start + 1)
    ordered = np.sort(np.concatenate(starts))
    column, row = np.divmod(ordered, height)
    return ColumnRuns((height, width), ordered, ids[row, column])


def encode_run_lengths(runs: ColumnRuns, count: int) -> dict[int, dict[str, Any]]:
    """For each of 0..`count` - 1 that occurs, its mask as COCO's compressed run lengths.

    COCO's runs go down the columns, one column after the other, and begin with pixels that are not of the mask.
    """
    height, width = runs.size
    whole = np.append(True, runs.ids[1:] != runs.ids[:-1])  # A run of COCO's may go on in the next column.
    found = _by_owner(runs.starts[whole], runs.ids[whole], height * width, count)
    return {
        each: coco.frPyObjects({"size": [height, width], "counts": to_counts(own, height * width).tolist()}, height, width)
        for each, own in found.items()
    }


def find_row_spans(ids: npt.NDArray[np.integer], count: int) -> dict[int, Spans]:
    """For each of 0..`count` - 1 that occurs in `ids` (H×W), its runs along the rows, one row after the other.

    A run goes on from the end of a row to the beginning of the next.
    """
    flat = ids.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    return _by_owner(starts, flat[starts], flat.size, count)


def to_counts(spans: Spans, size: int) -> npt.NDArray[np.int64]:
    """Lengths of the runs outside and inside of `spans` by turns over `size` pixels, beginning outside, with 0 if need be.

    A run outside that would be empty at the end is left out.
    """
    lengths = np.diff(spans.ravel(), prepend=0)
    rest = size - spans[-1, 1]
    return np.append(lengths, rest) if rest else lengths


def crop_spans(spans: Spans, bbox: tuple[int, int, int, int], width: int) -> Spans:
    """The row spans of a segment, in an image of `width`, within its bounding box `bbox`: x, y, width, height."""
    left, top, box_width, _ = bbox
    first, last = spans[:, 0] // width, (spans[:, 1] - 1) // width
    rows = last - first + 1
    before = np.repeat(np.cumsum(rows) - rows, rows)
    row = np.repeat(first, rows) + np.arange(rows.sum()) - before
    starts = np.maximum(np.repeat(spans[:, 0], rows), row * width) - row * width - left
    ends = np.minimum(np.repeat(spans[:, 1], rows), (row + 1) * width) - row * width - left
    offset = (row - top) * box_width
    starts, ends = starts + offset, ends + offset
    apart = starts[1:] != ends[:-1]
    return np.stack([starts[np.append(True, apart)], ends[np.append(apart, True)]], axis=1)


def _by_owner(starts: npt.NDArray[np.int64], ids: npt.NDArray[np.integer], size: int, count: int) -> dict[int, Spans]:
    """The runs of each of 0..`count` - 1 that has any; all together they cover `size` pixels."""
    spans = np.stack([starts, np.append(starts[1:], size)], axis=1)
    by_owner = np.argsort(ids, kind="stable")
    spans = spans[by_owner]
    bounds = np.searchsorted(ids[by_owner], np.arange(count + 1)).tolist()
    return {each: spans[first:last] for each, (first, last) in enumerate(pairwise(bounds)) if first < last}
