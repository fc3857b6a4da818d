"""Compute a raster's labels and confidence from the scores of the one, two or four windows that cover each pixel.

Scores are interpolated and then blended, both linearly, before the winning class is taken. If all grid points around a pixel
have the same winner in every window, no other class can win between them; only the other pixels are computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from handler.grid import Neighbours, neighbours_at
from handler.masks.label_map import LabelMap
from handler.network.engines import Logits
from handler.strips import row_strips
from scripts.rasters.layout import Side, Stretch

Floats = npt.NDArray[np.float32]
#: Most scores gathered at once.
_CHUNK_SCORES = 1 << 20


@dataclass(frozen=True)
class WindowScores:
    """The network's scores for one window, on the network's grid."""

    #: Logits of one view, or mean probabilities of several, C×h×w.
    scores: Logits
    #: Class probabilities, C×h×w.
    probabilities: Floats

    @cached_property
    def points(self) -> Floats:
        """Scores by grid point, h×w×C."""
        return np.ascontiguousarray(np.moveaxis(self.scores, 0, -1))

    @cached_property
    def winners(self) -> npt.NDArray[np.int64]:
        """The winning class at each grid point, h×w."""
        winners: npt.NDArray[np.int64] = self.points.argmax(axis=-1)
        return winners

    @cached_property
    def decided(self) -> npt.NDArray[np.bool_]:
        """Whether the same class wins at a grid point and its right, lower and lower right neighbours, h×w."""
        rows = np.pad(self.winners, ((0, 1), (0, 1)), mode="edge")
        upper_left = rows[:-1, :-1]
        right, lower, lower_right = rows[:-1, 1:], rows[1:, :-1], rows[1:, 1:]
        decided: npt.NDArray[np.bool_] = (upper_left == lower) & (upper_left == right) & (upper_left == lower_right)
        return decided


#: Scores by window row and column; None for windows without a valid pixel, which the network skips.
Windows = Mapping[tuple[int, int], WindowScores | None]


class _Axis(NamedTuple):
    """One axis of a region: its pixels on the grids of one or two windows, and the weight of the second window."""

    windows: tuple[int, ...]
    neighbours: tuple[Neighbours, ...]
    weight: Floats | None


def blend_region(
    windows: Windows, sides: tuple[Side, Side], stretches: tuple[Stretch, Stretch], dtype: npt.DTypeLike
) -> tuple[LabelMap, npt.NDArray[np.uint8]] | None:
    """Label the pixels where a stretch of rows crosses a stretch of columns.

    Args:
        windows: the scores of every window that the stretches name.
        sides: the raster's rows and columns.
        stretches: the rows and columns to label.
        dtype: type of the labels.

    Returns:
        Class indices, h×w, and the blended probability of each pixel's class times 255, or None if a window was skipped, in
        which case none of these pixels is valid.
    """
    grid_windows = [[windows[row, column] for column in stretches[1].windows] for row in stretches[0].windows]
    valid_windows = [[window for window in line if window is not None] for line in grid_windows]
    if any(len(line) < len(stretches[1].windows) for line in valid_windows):
        return None
    shape = valid_windows[0][0].winners.shape
    rows, columns = (_make_axis(side, stretch, points) for side, stretch, points in zip(sides, stretches, shape, strict=True))
    labels = _label(valid_windows, rows, columns).astype(dtype)
    return labels, _confidence(valid_windows, rows, columns, labels)


def _make_axis(side: Side, stretch: Stretch, points: int) -> _Axis:
    centres = side.centres(stretch.pixels)
    neighbours = (
        neighbours_at((centres - side.starts[window]) * (points / side.window) - 0.5, points) for window in stretch.windows
    )
    return _Axis(stretch.windows, tuple(neighbours), stretch.weight)


def _label(windows: list[list[WindowScores]], rows: _Axis, columns: _Axis) -> npt.NDArray[np.int64]:
    labels, decided = None, np.array(True)
    for line, (above, _, _) in zip(windows, rows.neighbours, strict=True):
        for window, (left, _, _) in zip(line, columns.neighbours, strict=True):
            winners = window.winners[above][:, left]
            decided = decided & window.decided[above][:, left]
            if labels is None:
                labels = winners
            else:
                decided &= labels == winners
    assert labels is not None  # noqa: S101 (for mypy)
    row, column = np.nonzero(~decided)
    for part in row_strips(len(row), windows[0][0].points.shape[-1], _CHUNK_SCORES):
        y, x = row[part], column[part]
        lines = [
            [_scores_at(window, down, across, y, x) for window, across in zip(line, columns.neighbours, strict=True)]
            for line, down in zip(windows, rows.neighbours, strict=True)
        ]
        labels[y, x] = _mix(lines, rows.weight, columns.weight, y[:, None], x[:, None]).argmax(axis=1)
    return labels


def _scores_at(
    window: WindowScores, down: Neighbours, across: Neighbours, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]
) -> Floats:
    """Interpolate a window's scores at n pixels; return n×C."""
    above, below, dy = (values[y] for values in down)
    left, right, dx = (values[x] for values in across)
    columns = []
    for side in (left, right):
        upper = window.points[above, side]
        columns.append(upper + (window.points[below, side] - upper) * dy[:, None])
    first, second = columns
    result: Floats = first + (second - first) * dx[:, None]
    return result


def _confidence(windows: list[list[WindowScores]], rows: _Axis, columns: _Axis, labels: LabelMap) -> npt.NDArray[np.uint8]:
    confidence = np.empty(labels.shape, np.uint8)
    y, x = np.arange(labels.shape[0])[:, None], np.arange(labels.shape[1])
    for index in np.unique(labels):
        planes = [
            [_plane(window.probabilities[index], down, across) for window, across in zip(line, columns.neighbours, strict=True)]
            for line, down in zip(windows, rows.neighbours, strict=True)
        ]
        values = np.rint(np.clip(_mix(planes, rows.weight, columns.weight, y, x), 0, 1) * 255)
        np.copyto(confidence, values, where=labels == index, casting="unsafe")
    return confidence


def _plane(values: Floats, down: Neighbours, across: Neighbours) -> Floats:
    """Interpolate one class's probabilities at all pixels; return h×w."""
    left, right, dx = across
    lines = values[:, left] + (values[:, right] - values[:, left]) * dx
    above, below, dy = down
    plane: Floats = lines[above] + (lines[below] - lines[above]) * dy[:, None]
    return plane


def _mix(
    values: list[list[Floats]],
    row_weight: Floats | None,
    column_weight: Floats | None,
    y: npt.NDArray[np.int64],
    x: npt.NDArray[np.int64],
) -> Floats:
    """Blend the values of one, two or four windows. If they agree, the result is bit-identical to their value."""
    lines = [line[0] if column_weight is None else line[0] + (line[1] - line[0]) * column_weight[x] for line in values]
    return lines[0] if row_weight is None else lines[0] + (lines[1] - lines[0]) * row_weight[y]
