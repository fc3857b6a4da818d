"""Positions of an image's pixels on the network's grid, with half-pixel centres."""

import numpy as np
import numpy.typing as npt

#: Indices of the grid points before and after some positions, and the weights of the second.
Neighbours = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


def find_neighbours(points: int, length: int) -> Neighbours:
    """Find, for each of `length` pixels, the grid points before and after its centre and the weight of the second.

    `points` grid points span the same length as the pixels. Beyond the outermost points their values are repeated (as with
    torch's `align_corners=False`).
    """
    return neighbours_at((np.arange(length) + 0.5) * (points / length) - 0.5, points)


def neighbours_at(position: npt.NDArray[np.floating], points: int) -> Neighbours:
    """Find the grid points before and after each `position` (0 is the first of `points`), and the weight of the second."""
    position = np.maximum(position, 0)
    first = np.minimum(position.astype(np.int64), points - 1)
    return first, np.minimum(first + 1, points - 1), (position - first).astype(np.float32)


def find_first_pixel(
    position: npt.NDArray[np.float64], exclusive: npt.NDArray[np.bool_], points: int, length: int
) -> npt.NDArray[np.int64]:
    """Find the first of `length` pixels whose centre is at or after `position`, or return `length` if none is.

    Args:
        position: positions on the grid, 0 at its first point, 1 at its second.
        exclusive: whether the centre must be after `position`.
        points: number of grid points.
        length: number of pixels.
    """
    pixel = (position + 0.5) * (length / points) - 0.5
    first: npt.NDArray[np.float64] = np.where(exclusive, np.floor(pixel) + 1, np.ceil(pixel))
    return np.minimum(first, length).astype(np.int64)
