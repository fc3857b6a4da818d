"""How long the outlines of an image's segments are, and how long they may be."""

import numpy as np
import numpy.typing as npt

from handler.errors import ResponseTooLarge
from handler.limits import MAX_OUTLINE_EDGES
from handler.strips import row_strips


def check_outline_length(ids: npt.NDArray[np.integer]) -> None:
    """Refuse to trace the outlines of an image whose pixels are of the segments `ids`, H×W, where they are too long.

    Time and memory grow with them, whatever `tolerance` leaves of them.

    Raises:
        ResponseTooLarge: a worker would be taken for dead before they are traced and written.
    """
    edges = _edges(ids)
    if edges > MAX_OUTLINE_EDGES:
        raise ResponseTooLarge(
            f"the outlines of the segments run along {edges:,} edges of pixels, the limit is {MAX_OUTLINE_EDGES:,}; "
            "send a smaller image, or ask for run lengths of whole classes"
        )


def _edges(ids: npt.NDArray[np.integer]) -> int:
    """Between pixels of different segments; those of the image are not counted."""
    edges = 0
    for strip in row_strips(*ids.shape):
        rows, below = ids[strip], ids[strip.start + 1 : strip.stop + 1]
        edges += np.count_nonzero(rows[: len(below)] != below)
        edges += np.count_nonzero(rows[:, 1:] != rows[:, :-1])
    return int(edges)
