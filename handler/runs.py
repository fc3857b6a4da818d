"""Run lengths of all segments of an image at once, without a mask for each."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

#: The runs of one segment: where each starts and where it ends, n×2, in pixels of the flattened image, ascending.
Spans = npt.NDArray[np.int64]


def run_lengths(ids: npt.NDArray[np.integer], count: int) -> dict[int, dict[str, Any]]:
    """For each of 0..`count` - 1 that occurs in `ids` (H×W), its mask as COCO's compressed run lengths.

    COCO's runs go down the columns, one column after the other, and begin with pixels that are not of the mask.
    """
    height, width = ids.shape
    return {
        each: coco.frPyObjects({"size": [height, width], "counts": counts(own, ids.size).tolist()}, height, width)
        for each, own in _spans(ids.ravel(order="F"), count).items()
    }


def row_spans(ids: npt.NDArray[np.integer], count: int) -> dict[int, Spans]:
    """For each of 0..`count` - 1 that occurs in `ids` (H×W), its runs along the rows, one row after the other.

    A run goes on from the end of a row to the beginning of the next.
    """
    return _spans(ids.ravel(), count)


def counts(spans: Spans, size: int) -> npt.NDArray[np.int64]:
    """Lengths of the runs outside and inside of `spans` by turns over `size` pixels, beginning outside, with 0 if need be.

    A run outside that would be empty at the end is left out.
    """
    lengths = np.diff(spans.ravel(), prepend=0)
    rest = size - spans[-1, 1]
    return np.append(lengths, rest) if rest else lengths


def within(spans: Spans, bbox: tuple[int, int, int, int], width: int) -> Spans:
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


def _spans(flat: npt.NDArray[np.integer], count: int) -> dict[int, Spans]:
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    spans = np.stack([starts, np.append(starts[1:], flat.size)], axis=1)
    owner = flat[starts]
    by_owner = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[by_owner], np.arange(count + 1))
    own = {each: by_owner[bounds[each] : bounds[each + 1]] for each in range(count)}
    return {each: spans[positions] for each, positions in own.items() if positions.size}
