"""The winning class along lines on which scores are piecewise linear."""

import numpy as np
import numpy.typing as npt
import pytest

from handler.masks.upper_envelope import label_lines

Scores = list[list[float]]


def label_line(points: Scores, length: int) -> list[int]:
    """Label `length` pixels along one line, given the scores of each grid point."""
    scores = np.array(points, np.float32)

    def scores_at(line: npt.NDArray[np.int64], point: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        assert not line.any()
        return scores[point]

    winners = scores.argmax(axis=1).astype(np.uint8)[None]
    (labels,) = label_lines(winners, scores_at, scores.shape[1], length)
    return [int(label) for label in labels]


def test_two_classes_change_where_their_lines_meet() -> None:
    # The points are the centres of pixels 2 and 7; the lines meet at pixels 4.5 and 6.
    assert label_line([[1, 0], [0, 1]], 10) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert label_line([[4, 0], [0, 1]], 10) == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_a_third_class_may_win_between_two_points_where_it_loses() -> None:
    assert label_line([[4, 3, 0], [0, 3, 4]], 16) == [0] * 6 + [1] * 4 + [2] * 6


def test_a_third_class_that_stays_below_both_never_wins() -> None:
    assert label_line([[4, 1.9, 0], [0, 1.9, 4]], 16) == [0] * 8 + [2] * 8


def test_between_two_points_of_one_winner_no_other_class_wins() -> None:
    assert label_line([[2, 1.9], [2, 1.9], [0, 1]], 9) == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_the_outermost_winners_continue_beyond_the_grid() -> None:
    assert label_line([[0, 5], [9, 8]], 8)[:2] == [1, 1]
    assert label_line([[0, 5], [9, 8]], 8)[-2:] == [0, 0]


def test_many_classes_may_win_between_two_points() -> None:
    """The lines are tangents of a parabola: each is the highest near its point of contact."""
    slopes = np.arange(9)
    left = -(slopes**2) / 16
    points = np.stack([left, left + slopes])

    labels = label_line(points.tolist(), 400)

    assert labels == sorted(labels)
    assert set(labels) == set(range(9))


@pytest.mark.parametrize(("points", "labels"), [([[1, 0], [0, 1]], [0, 0, 1]), ([[0, 1], [1, 0]], [1, 0, 0])])
def test_the_lower_index_wins_a_tie_at_a_pixels_centre(points: Scores, labels: list[int]) -> None:
    assert label_line(points, 3) == labels


def test_a_single_point_labels_the_whole_line() -> None:
    assert label_line([[0, 2, 1]], 5) == [1, 1, 1, 1, 1]


def test_a_line_with_fewer_pixels_than_points_takes_the_winners_at_the_pixels_centres() -> None:
    # The centres of two pixels over five points are at 0.75 and 3.25.
    assert label_line([[1, 0, 0], [0, 0, 1], [0, 9, 0], [0, 0, 1], [4, 0, 0]], 2) == [2, 0]


def test_a_class_with_minus_infinity_never_wins() -> None:
    minus_infinity = float("-inf")

    assert label_line([[1, minus_infinity, 0], [0, minus_infinity, 1]], 4) == [0, 0, 2, 2]
    assert label_line([[minus_infinity, 0], [1, 0]], 10) == [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_nan_scores_get_some_label() -> None:
    assert len(label_line([[float("nan"), 0, 1], [0, 1, float("inf")], [1, float("-inf"), 0]], 12)) == 12
