"""The connected parts of an image's classes."""

import numpy as np
import numpy.typing as npt

from handler.masks.outline_length import check_outline_length

Indices = npt.NDArray[np.int64]


def label_components(
    label_map: npt.NDArray[np.unsignedinteger], background: int | None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Number the connected parts of each class; pixels are connected by their edges. Background stays one.

    Returns:
        For each pixel the number of its part, H×W, and for each number the class's index. 0 is background, whether there is
        one or not; the others come in the order of their first pixels.

    Raises:
        ResponseTooLarge: there is too much to trace.
    """
    check_outline_length(label_map)
    begins = np.ones(label_map.shape, np.bool_)
    begins[:, 1:] = label_map[:, 1:] != label_map[:, :-1]
    starts = np.flatnonzero(begins)
    classes = label_map.ravel()[starts]
    first_runs = _first_connected(len(starts), *_touching(starts, classes, label_map.shape))
    named = np.full(len(starts), True) if background is None else classes != background
    parts, number = np.unique(first_runs[named], return_inverse=True)
    numbers = np.zeros(len(starts), np.int32)
    numbers[named] = number + 1
    ids = np.repeat(numbers, np.diff(starts, append=label_map.size)).reshape(label_map.shape)
    return ids, np.append(-1 if background is None else background, classes[parts].astype(np.int64))


def _touching(starts: Indices, classes: npt.NDArray[np.unsignedinteger], shape: tuple[int, ...]) -> tuple[Indices, Indices]:
    """Pairs of runs of one class, of neighbouring rows, that share an edge; each run is told by its place in `starts`.

    Where two overlap, one of them begins: it is enough to look above and below each run's first pixel.
    """
    height, width = shape
    run = np.arange(len(starts))
    first, last = np.searchsorted(starts, [width, (height - 1) * width])
    above = np.searchsorted(starts, starts[first:] - width, side="right") - 1
    below = np.searchsorted(starts, starts[:last] + width, side="right") - 1
    upper, lower = np.append(above, run[:last]), np.append(run[first:], below)
    same = classes[upper] == classes[lower]
    return upper[same], lower[same]


def _first_connected(count: int, one: Indices, other: Indices) -> Indices:
    """For each of `count` things the first one that it is connected with, directly or not, by the pairs `one`, `other`."""
    first = np.arange(count)
    while one.size:
        np.minimum.at(first, np.maximum(one, other), np.minimum(one, other))
        while (first != (further := first[first])).any():
            first = further
        one, other = first[one], first[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return first
