import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from handler import labelmap
from handler.labelmap import Segmentation, class_statistics, label_map, segmentation
from handler.labels import Labels
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def reference(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    return values.numpy()


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.integers(0, 2**32 - 1),
)
def test_labels_win_the_interpolated_logits(grid: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(4, *grid)).astype(np.float32)
    values = reference(logits, size)

    labels = label_map(logits, size, np.uint8)

    assert labels.shape == size
    assert labels.dtype == np.uint8
    # Where two classes are equal to the last bits, either may win.
    chosen = np.take_along_axis(values, labels[None].astype(np.int64), 0)[0]
    np.testing.assert_allclose(chosen, values.max(0), atol=1e-5)


def test_a_checkerboard_of_logits_at_image_size_comes_back() -> None:
    board = np.indices((6, 8)).sum(0) % 2
    logits = np.stack([1 - board, board]).astype(np.float32)

    np.testing.assert_array_equal(label_map(logits, (6, 8), np.uint8), board)


def test_statistics_name_each_class_by_falling_size_and_background_last() -> None:
    result = of_labels([[0, 0, 0, 0], [2, 1, 2, 0]])

    assert [(s.index, s.pixels, s.fraction) for s in class_statistics(result)] == [(2, 2, 0.25), (1, 1, 0.125), (0, 5, 0.625)]


def test_the_score_is_the_mean_probability_over_the_segment() -> None:
    probabilities = np.zeros((3, 1, 4), np.float32)
    probabilities[1] = [0.5, 0.75, 0.0, 0.0]
    probabilities[0] = [0.5, 0.25, 1.0, 0.875]
    labels = np.array([[1, 1, 0, 0]], np.uint8)

    cat, background = class_statistics(Segmentation(blank(1, 4), labels, probabilities, LABELS))

    assert cat.score == pytest.approx(0.625)
    assert background.score == pytest.approx(0.9375)


def test_scores_are_those_of_the_interpolated_probabilities() -> None:
    logits = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    result = segmentation(blank(33, 29), logits, LABELS)
    probabilities = reference(result.probabilities, (33, 29))

    for statistics in class_statistics(result):
        mask = result.label_map == statistics.index
        assert statistics.score == pytest.approx(float(probabilities[statistics.index][mask].mean()), abs=1e-5)


def test_scores_do_not_depend_on_the_height_of_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(3).normal(size=(3, 4, 5)).astype(np.float32)
    result = segmentation(blank(33, 29), logits, LABELS)
    whole = class_statistics(result)

    monkeypatch.setattr(labelmap, "_VALUES_AT_ONCE", 1)

    assert [s.pixels for s in class_statistics(result)] == [s.pixels for s in whole]
    assert [s.score for s in class_statistics(result)] == pytest.approx([s.score for s in whole])


@pytest.mark.parametrize(("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_take_the_smallest_integer_that_holds_them(count: int, dtype: npt.DTypeLike) -> None:
    assert Labels(tuple(map(str, range(count))), voc_palette(count)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(("names", "index"), [(("background", "cat"), 0), (("cat", "Background"), 1), (("road", "sky"), None)])
def test_background_is_found_by_its_name(names: tuple[str, ...], index: int | None) -> None:
    assert Labels(names, voc_palette(len(names))).background == index


def blank(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def of_labels(rows: list[list[int]]) -> Segmentation:
    labels = np.array(rows, np.uint8)
    return Segmentation(blank(*labels.shape), labels, np.full((3, *labels.shape), 1 / 3, np.float32), LABELS)
