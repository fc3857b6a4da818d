"""The probability of each pixel's own class, interpolated from the network's grid: of all pixels, and summed over runs."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from handler.grid import find_neighbours
from handler.masks.run_lengths import ColumnRuns
from handler.masks.segmentation import Segmentation
from handler.strips import row_strips

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: Interpolated at once.
_PIXELS_AT_ONCE = 1 << 17


def interpolate_confidence(result: Segmentation) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """The probability of each pixel's own class, a strip of rows at a time: which rows, and their values."""
    height, width = result.label_map.shape
    _, grid_height, grid_width = result.probabilities.shape
    above, below, down = find_neighbours(grid_height, height)
    left, right, across = find_neighbours(grid_width, width)

    def on_lines(classes: npt.NDArray[np.integer], line: Indices, column: Indices) -> npt.NDArray[np.float32]:
        first, second = (result.probabilities[classes, line, side[column]] for side in (left, right))
        values: npt.NDArray[np.float32] = first + (second - first) * across[column]
        return values

    for rows in row_strips(height, width, _PIXELS_AT_ONCE):
        labels = result.label_map[rows]
        # Few pixels of a strip are of another class than the uppermost one of their column.
        lines = np.arange(above[rows.start], below[rows.stop - 1] + 1)
        uppermost = on_lines(labels[0], lines[:, None], np.arange(width))
        first, second = (uppermost[line[rows] - lines[0]] for line in (above, below))
        values = first + (second - first) * down[rows, None]
        row, column = np.divmod(np.flatnonzero(labels != labels[0]), width)
        first, second = (on_lines(labels[row, column], line[rows][row], column) for line in (above, below))
        values[row, column] = first + (second - first) * down[rows][row]
        yield rows, values


def sum_over_runs(probabilities: npt.NDArray[np.float32], runs: ColumnRuns, classes: npt.NDArray[np.integer]) -> Floats:
    """For each of `runs` the sum over its pixels of its class's probability.

    Args:
        probabilities: of the classes on the grid, C×h×w.
        runs: n of the image's.
        classes: of the runs, n.
    """
    height, width = runs.size
    column, top = np.divmod(runs.starts, height)
    bottom = top + runs.lengths
    left, right, across = find_neighbours(probabilities.shape[2], width)
    found = np.empty(len(runs.starts))
    by_class = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[by_class], np.arange(len(probabilities) + 1))
    for index in np.flatnonzero(np.diff(bounds)):
        own = by_class[bounds[index] : bounds[index + 1]]
        above = _SumsAbove(probabilities[index].astype(np.float64), height)
        x = column[own]
        first, second = (above.of(bottom[own], side[x]) - above.of(top[own], side[x]) for side in (left, right))
        found[own] = first + (second - first) * across[x]
    return found


class _SumsAbove:
    """Sums down the columns of a grid over the pixels above a given one.

    What is interpolated is linear from each point of the grid to the next. So a sum is that of the whole intervals above, and
    two values times their weights.
    """

    def __init__(self, plane: Floats, height: int) -> None:
        """Of `plane` h×w, over `height` pixels."""
        points = len(plane)
        upper, _, weight = find_neighbours(points, height)
        running = np.append(0, np.cumsum(weight, dtype=np.float64))
        edges = np.searchsorted(upper, np.arange(points + 1))
        #: Of each pixel, and of the end below the last.
        self._interval = np.append(upper, upper[-1])
        begins = edges[self._interval]
        self._lower_weight = running - running[begins]
        self._upper_weight = np.arange(height + 1) - begins - self._lower_weight
        self._plane = np.append(plane, plane[-1:], axis=0)
        lower_weights = np.diff(running[edges])[:, None]
        upper_weights = np.diff(edges)[:, None] - lower_weights
        whole = upper_weights * self._plane[:-1] + lower_weights * self._plane[1:]
        self._above = np.cumsum(whole, axis=0) - whole

    def of(self, row: Indices, column: Indices) -> Floats:
        """Over the pixels above `row`, which may be the end, in the grid's `column`; n."""
        at = self._interval[row]
        own: Floats = self._upper_weight[row] * self._plane[at, column] + self._lower_weight[row] * self._plane[at + 1, column]
        whole: Floats = self._above[at, column]
        return whole + own
