"""The network's grid over the image: where each pixel lies between the grid's points."""

import numpy as np
import numpy.typing as npt


def find_neighbours(points: int, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """For each of `length` pixels over `points`: those on either side of its centre, and the weight of the second.

    Both have half-pixel centres; beyond the outermost points these go on (torch's `align_corners=False`).
    """
    position = np.maximum((np.arange(length) + 0.5) * (points / length) - 0.5, 0)
    first = np.minimum(position.astype(np.int64), points - 1)
    return first, np.minimum(first + 1, points - 1), (position - first).astype(np.float32)


def find_first_pixel(
    position: npt.NDArray[np.float64], beyond: npt.NDArray[np.bool_], points: int, length: int
) -> npt.NDArray[np.int64]:
    """The first of `length` pixels over `points` whose centre is at `position` among them, or after it; `length`: none is.

    Args:
        position: 0 is the first point, 1 the second.
        beyond: where the pixel must be after `position`.
    """
    pixel = (position + 0.5) * (length / points) - 0.5
    first: npt.NDArray[np.float64] = np.where(beyond, np.floor(pixel) + 1, np.ceil(pixel))
    return np.minimum(first, length).astype(np.int64)
