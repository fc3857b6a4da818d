"""Limit the length of an image's outlines."""

import numpy as np
import numpy.typing as npt

from handler.errors import ResponseTooLarge
from handler.limits import MAX_OUTLINE_EDGES
from handler.strips import row_strips


def check_outline_length(ids: npt.NDArray[np.integer]) -> None:
    """Check that the outlines between the segments in `ids` (H×W) are short enough to trace.

    Time and memory grow with their length, even if a tolerance simplifies them later.

    Raises:
        ResponseTooLarge: the outlines exceed `MAX_OUTLINE_EDGES`; the server would time out before they were written.
    """
    edges = _count_edges(ids)
    if edges > MAX_OUTLINE_EDGES:
        raise ResponseTooLarge(
            f"the outlines of the segments have {edges:,} pixel edges, the limit is {MAX_OUTLINE_EDGES:,}; "
            "send a smaller image, or ask for run lengths of whole classes"
        )


def _count_edges(ids: npt.NDArray[np.integer]) -> int:
    """Count the edges between pixels of different segments, excluding the image's border."""
    edges = 0
    for strip in row_strips(*ids.shape):
        rows, below = ids[strip], ids[strip.start + 1 : strip.stop + 1]
        edges += int(np.count_nonzero(rows[: len(below)] != below))
        edges += int(np.count_nonzero(rows[:, 1:] != rows[:, :-1]))
    return edges
