"""The winning class along lines of scores that are linear between the grid's points."""

import numpy as np
import numpy.typing as npt
import pytest

from handler.masks.upper_envelope import label_lines

Scores = list[list[float]]


def along(points: Scores, length: int) -> list[int]:
    """Winners of `length` pixels along one line, told from each point's scores."""
    scores = np.array(points, np.float32)

    def scores_at(line: npt.NDArray[np.int64], point: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        assert not line.any()
        return scores[point]

    winners = scores.argmax(axis=1).astype(np.uint8)[None]
    (labels,) = label_lines(winners, scores_at, scores.shape[1], length)
    return [int(label) for label in labels]


def test_two_classes_change_where_their_lines_meet() -> None:
    # The points are the centres of pixels 2 and 7; the lines meet at pixel 4.5 and 6.
    assert along([[1, 0], [0, 1]], 10) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert along([[4, 0], [0, 1]], 10) == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_a_third_class_wins_between_two_points_at_which_it_does_not() -> None:
    assert along([[4, 3, 0], [0, 3, 4]], 16) == [0] * 6 + [1] * 4 + [2] * 6


def test_a_third_class_that_stays_below_both_never_wins() -> None:
    assert along([[4, 1.9, 0], [0, 1.9, 4]], 16) == [0] * 8 + [2] * 8


def test_between_two_points_of_one_winner_no_other_class_wins() -> None:
    assert along([[2, 1.9], [2, 1.9], [0, 1]], 9) == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_beyond_the_outermost_points_their_winners_go_on() -> None:
    assert along([[0, 5], [9, 8]], 8)[:2] == [1, 1]
    assert along([[0, 5], [9, 8]], 8)[-2:] == [0, 0]


def test_many_classes_may_win_between_two_points() -> None:
    """Tangents of a parabola: each of them is the highest near where it touches."""
    slopes = np.arange(9)
    left = -(slopes**2) / 16
    points = np.stack([left, left + slopes])

    labels = along(points.tolist(), 400)

    assert labels == sorted(labels)
    assert set(labels) == set(range(9))


@pytest.mark.parametrize(("points", "labels"), [([[1, 0], [0, 1]], [0, 0, 1]), ([[0, 1], [1, 0]], [1, 0, 0])])
def test_of_classes_that_are_equal_at_a_pixels_centre_the_lower_index_wins(points: Scores, labels: list[int]) -> None:
    assert along(points, 3) == labels


def test_a_point_alone_gives_its_winner_to_the_whole_line() -> None:
    assert along([[0, 2, 1]], 5) == [1, 1, 1, 1, 1]


def test_a_line_of_fewer_pixels_than_points_takes_what_wins_at_the_pixels_centres() -> None:
    # The centres of two pixels over five points are at 0.75 and 3.25.
    assert along([[1, 0, 0], [0, 0, 1], [0, 9, 0], [0, 0, 1], [4, 0, 0]], 2) == [2, 0]


def test_a_class_that_is_ruled_out_by_minus_infinity_never_wins() -> None:
    out = float("-inf")

    assert along([[1, out, 0], [0, out, 1]], 4) == [0, 0, 2, 2]
    assert along([[out, 0], [1, 0]], 10) == [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_scores_that_are_not_numbers_still_get_some_label() -> None:
    assert len(along([[float("nan"), 0, 1], [0, 1, float("inf")], [1, float("-inf"), 0]], 12)) == 12
