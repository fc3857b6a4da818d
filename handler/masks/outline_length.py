"""How long the outlines of an image's segments are, and how long they may be."""

import numpy as np
import numpy.typing as npt

from handler.errors import ResponseTooLarge

#: Of the edges that are traced: 10 seconds' worth on one slow core, in the format that makes the most of each.
_MOST_EDGES = 800_000
#: Compared at once.
_PIXELS_AT_ONCE = 1 << 22


def require_traceable(ids: npt.NDArray[np.integer]) -> None:
    """Refuse to trace the outlines of an image whose pixels are of the segments `ids`, H×W, where they are too long.

    Time and memory grow with them, whatever `tolerance` leaves of them.

    Raises:
        ResponseTooLarge: a worker would be taken for dead before they are traced and written.
    """
    edges = _edges(ids)
    if edges > _MOST_EDGES:
        raise ResponseTooLarge(
            f"the outlines of the segments run along {edges:,} edges of pixels, the limit is {_MOST_EDGES:,}; "
            "send a smaller image, or ask for run lengths of whole classes"
        )


def _edges(ids: npt.NDArray[np.integer]) -> int:
    """Between pixels of different segments; those of the image are not counted."""
    strip = max(1, _PIXELS_AT_ONCE // ids.shape[1])
    edges = 0
    for start in range(0, len(ids), strip):
        rows = ids[start : start + strip + 1]  # The last one is the next strip's first.
        edges += np.count_nonzero(rows[1:] != rows[:-1])
        rows = rows[:strip]
        edges += np.count_nonzero(rows[:, 1:] != rows[:, :-1])
    return int(edges)
