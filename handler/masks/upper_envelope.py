"""Which class wins along lines, where each class's score is linear from one point of the grid to the next."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from handler.grid import find_first_pixel
from handler.strips import row_strips

#: Class indices.
Classes = npt.NDArray[np.unsignedinteger]
Indices = npt.NDArray[np.int64]
#: The scores of some points, n×C, told from the line that each is on and its place there, n each.
ScoresAt = Callable[[Indices, Indices], npt.NDArray[np.float32]]

#: Pixels filled at once, and scores compared at once: what a processor keeps at hand.
_PIXELS_AT_ONCE = 1 << 22
_VALUES_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class _Changes:
    """Where another class begins to win between two points of the grid; of as many pairs as there are, n of each.

    They are in order: of pairs, and along each.
    """

    pair: Indices
    #: 0 at the pair's first point, 1 at its second.
    at: npt.NDArray[np.float64]
    #: The class.
    winner: Indices
    #: At the very place where two are equal the lower index wins: whether this one wins beyond it only.
    beyond: npt.NDArray[np.bool_]


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # Lines may be parallel, and infinities rule classes out.
def label_lines(winners: Classes, scores_at: ScoresAt, classes: int, length: int) -> Classes:
    """The winning classes of `length` pixels along each of n lines: n×`length`.

    Time and memory grow with the pairs of neighbouring points that have different winners. Between equal ones nothing is
    to compare: no other class's line can rise above one that is the highest at both ends.

    Args:
        winners: which class wins at the grid's points, n×k.
        scores_at: scores of points.
        classes: C of its scores.
        length: of the lines.
    """
    labels = np.empty((len(winners), length), winners.dtype)
    for lines in row_strips(len(winners), length, _PIXELS_AT_ONCE):
        begins, found = _runs(winners, lines, scores_at, classes, length)
        lengths = np.diff(begins, append=lines.stop * length)
        labels[lines] = np.repeat(found, lengths).reshape(-1, length)
    return labels


def _runs(winners: Classes, lines: slice, scores_at: ScoresAt, classes: int, length: int) -> tuple[Indices, Classes]:
    """Runs of one class along `lines`, one line after the other: the pixels of all lines where they begin, and the classes."""
    some = winners[lines]
    own_line, own_point = np.nonzero(some[:, 1:] != some[:, :-1])
    first: Indices = np.arange(lines.start, lines.stop)
    of_line, begins, found = [first], [first * length], [some[:, 0]]
    for pairs in row_strips(own_line.size, classes, _VALUES_AT_ONCE):
        line, point = own_line[pairs] + lines.start, own_point[pairs]
        changes = _envelope(scores_at(line, point), scores_at(line, point + 1), winners[line, point], winners[line, point + 1])
        line, point = line[changes.pair], point[changes.pair]
        of_line.append(line)
        begins.append(line * length + find_first_pixel(point + changes.at, changes.beyond, winners.shape[1], length))
        found.append(changes.winner.astype(winners.dtype))
    order = np.argsort(np.concatenate(of_line), kind="stable")
    # Where several begin at one pixel the last one wins; the others have none.
    return np.maximum.accumulate(np.concatenate(begins)[order]), np.concatenate(found)[order]


def _envelope(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32], start: Classes, end: Classes) -> _Changes:
    """The upper envelope of each pair's lines, one for each class.

    From the winner on the left, the next one is always that of the steeper lines that is met first. The scores on the
    right rise with every step, so there are fewer than C.

    Args:
        left: scores on the left, n×C.
        right: on the right.
        start: winners on the left, n.
        end: on the right.
    """
    pair: Indices = np.arange(len(start))
    reached = np.zeros(len(start))
    winner, last = start.astype(np.int64), end.astype(np.int64)
    found = []
    while pair.size:
        each = np.arange(pair.size)
        rise = right - right[each, winner][:, None]
        lead = np.maximum(left[each, winner][:, None] - left, 0)
        # Of a line that meets the winner's at t this is t / (1 - t).
        meeting = np.where(rise > 0, lead / rise, np.inf)
        following = meeting.argmin(axis=1)
        nearest = meeting[each, following].astype(np.float64)
        # Where none is steeper, what is left is a tie on the right.
        following = np.where(nearest < np.inf, following, last)
        reached = np.fmax(1 - 1 / (1 + nearest), reached)
        found.append(_Changes(pair, reached, following, following > winner))
        on = np.flatnonzero(following != last)
        left, right, pair, reached, winner, last = left[on], right[on], pair[on], reached[on], following[on], last[on]
    return _in_order(found)


def _in_order(found: list[_Changes]) -> _Changes:
    pair = np.concatenate([each.pair for each in found])
    order = np.argsort(pair, kind="stable")
    rest = (np.concatenate([getattr(each, field.name) for each in found])[order] for field in fields(_Changes)[1:])
    return _Changes(pair[order], *rest)
