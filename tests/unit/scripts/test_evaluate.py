import numpy as np
import numpy.typing as npt
import pytest

from scripts.evaluate import score


def maps(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return np.array(rows, np.uint8)


TRUE = maps([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 255, 255]])
PREDICTED = maps([[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 2, 1], [0, 0, 0, 1]])


def test_iou_and_accuracy_are_those_worked_out_by_hand() -> None:
    scores = score([(PREDICTED, TRUE)], 4)

    # Class 0: 7 right of 8 true, 8 predicted where not void. Class 1: 3 of 4, 5 predicted. Class 2: 1 of 2, 1 predicted.
    np.testing.assert_allclose(scores.iou, [7 / 9, 3 / 6, 1 / 2, np.nan])
    assert scores.pixel_accuracy == pytest.approx(11 / 14)
    assert scores.miou == pytest.approx((7 / 9 + 1 / 2 + 1 / 2) / 3)


def test_counts_are_added_over_images_before_they_are_divided() -> None:
    one_right = (maps([[1, 1]]), maps([[1, 1]]))
    one_wrong = (maps([[0, 0, 0, 0]]), maps([[1, 1, 0, 0]]))

    scores = score([one_right, one_wrong], 2)

    np.testing.assert_allclose(scores.iou, [2 / 4, 2 / 4])


def test_void_counts_for_nothing() -> None:
    scores = score([(maps([[0, 1, 1]]), maps([[0, 255, 255]]))], 2)

    np.testing.assert_allclose(scores.iou, [1, np.nan])
    assert scores.pixel_accuracy == 1
