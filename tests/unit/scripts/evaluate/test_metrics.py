import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scripts.datasets import VOID
from scripts.evaluate.metrics import Scores, compare, score


def maps(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return np.array(rows, np.uint8)


# Class 0: 7 correct of 8 true, 9 predicted outside void. Class 1: 3 of 4 true, 4 predicted. Class 2: 1 of 2, 1 predicted.
TRUTH = maps([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 255, 255]])
PREDICTED = maps([[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 2, 0], [0, 0, 0, 1]])


def test_iou_is_the_intersection_over_the_union_of_each_class() -> None:
    np.testing.assert_allclose(score([(PREDICTED, TRUTH)], 4).iou, [7 / 10, 3 / 5, 1 / 2, np.nan])


def test_miou_is_the_mean_over_the_classes_that_occur() -> None:
    assert score([(PREDICTED, TRUTH)], 4).miou == pytest.approx((7 / 10 + 3 / 5 + 1 / 2) / 3)


def test_accuracy_is_the_share_of_each_class_that_is_predicted() -> None:
    scores = score([(PREDICTED, TRUTH)], 4)

    np.testing.assert_allclose(scores.accuracy, [7 / 8, 3 / 4, 1 / 2, np.nan])
    assert scores.mean_accuracy == pytest.approx((7 / 8 + 3 / 4 + 1 / 2) / 3)


def test_pixel_accuracy_is_the_share_of_correct_pixels() -> None:
    assert score([(PREDICTED, TRUTH)], 4).pixel_accuracy == pytest.approx(11 / 14)


def test_the_confusion_matrix_has_a_row_for_each_true_class() -> None:
    assert score([(PREDICTED, TRUTH)], 3).confusion.tolist() == [[7, 1, 0], [1, 3, 0], [1, 0, 1]]


def test_pixels_and_images_are_counted_by_true_class() -> None:
    scores = score([(PREDICTED, TRUTH), (PREDICTED, maps([[0] * 4] * 4))], 4)

    assert scores.pixels.tolist() == [24, 4, 2, 0]
    assert scores.images.tolist() == [2, 1, 1, 0]


def test_a_class_that_is_only_predicted_has_no_intersection() -> None:
    scores = score([(maps([[1, 0]]), maps([[0, 0]]))], 2)

    np.testing.assert_allclose(scores.iou, [1 / 2, 0])
    np.testing.assert_allclose(scores.accuracy, [1 / 2, np.nan])


def test_boundary_iou_compares_the_boundaries_of_the_masks() -> None:
    # The boundary of a 4×4 image is one pixel wide. That of class 1 is the image's rim of 12 pixels, the predicted one is the
    # rim of the 4×3 pixels on the right: all but two. They share 8. Class 0 has only its 4 predicted pixels.
    true = maps([[1, 1, 1, 1]] * 4)
    predicted = maps([[0, 1, 1, 1]] * 4)

    scores = score([(predicted, true)], 3, boundary=True)

    assert scores.boundary_iou is not None
    np.testing.assert_allclose(scores.boundary_iou, [0, 8 / 14, np.nan])
    assert scores.mean_boundary_iou == pytest.approx(4 / 14)


def test_the_boundary_is_measured_only_on_request() -> None:
    scores = score([(PREDICTED, TRUTH)], 3)

    assert scores.boundary_iou is None
    assert scores.mean_boundary_iou is None


def test_counts_are_added_over_images_before_they_are_divided() -> None:
    correct_pair = (maps([[1, 1]]), maps([[1, 1]]))
    half_wrong_pair = (maps([[0, 0, 0, 0]]), maps([[1, 1, 0, 0]]))

    np.testing.assert_allclose(score([correct_pair, half_wrong_pair], 2).iou, [2 / 4, 2 / 4])


def test_the_figures_of_an_image_of_void_are_nan() -> None:
    scores = score([(maps([[0, 1]]), maps([[VOID, VOID]]))], 2, boundary=True)

    assert scores.mean_boundary_iou is not None
    assert np.isnan([scores.miou, scores.pixel_accuracy, scores.mean_boundary_iou]).all()


@given(
    predicted=arrays(np.uint8, (5, 6), elements=st.integers(0, 2)),
    void_prediction=arrays(np.uint8, (5, 6), elements=st.integers(0, 2)),
    true=arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, VOID])),
)
def test_predictions_on_void_are_ignored(
    predicted: npt.NDArray[np.uint8], void_prediction: npt.NDArray[np.uint8], true: npt.NDArray[np.uint8]
) -> None:
    changed_on_void = np.where(true == VOID, void_prediction, predicted)

    assert figures(compare(predicted, true, 3, boundary=True)) == figures(compare(changed_on_void, true, 3, boundary=True))


@given(true=arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, VOID])))
def test_the_truth_itself_scores_one_or_nan(true: npt.NDArray[np.uint8]) -> None:
    scores = compare(np.where(true == VOID, 0, true), true, 3, boundary=True)

    assert scores.boundary_iou is not None
    for by_class in (scores.iou, scores.boundary_iou, scores.accuracy):
        assert set(by_class[~np.isnan(by_class)].tolist()) <= {1.0}


def test_background_alone_has_no_means() -> None:
    scores = compare(maps([[0, 0, 1]]), maps([[0, 0, 0]]), 2, boundary=True)
    total = Scores.zero(2, boundary=True, background=0) + scores

    assert total.only_background
    assert total.unlabelled == (1,)
    np.testing.assert_allclose(total.iou, [2 / 3, 0])
    means = [total.miou, total.pixel_accuracy, total.mean_accuracy, total.mean_boundary_iou]
    assert all(mean is not None and np.isnan(mean) for mean in means)
    assert not (total + compare(maps([[1]]), maps([[1]]), 2, boundary=True)).only_background


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\), the true one \(2, 1\)"):
        compare(maps([[0, 0]]), maps([[0], [0]]), 2)


@pytest.mark.parametrize(("predicted", "true", "name"), [(2, 0, "predicted"), (0, 2, "true")])
def test_an_index_out_of_range_is_refused(predicted: int, true: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"the {name} label map holds index 2; there are 2 classes"):
        compare(maps([[predicted]]), maps([[true]]), 2)


def test_an_evaluation_holds_the_means() -> None:
    evaluation = score([(PREDICTED, TRUTH)], 4, boundary=True).evaluation("ours", "one image")

    assert (evaluation.dataset, evaluation.miou, evaluation.pixel_accuracy) == ("ours", 0.6, 0.7857)
    assert evaluation.boundary_iou is not None


def figures(scores: Scores) -> list[list[int]]:
    assert scores.boundary is not None
    return [*scores.confusion.tolist(), scores.boundary.intersection.tolist(), scores.boundary.union.tolist()]
