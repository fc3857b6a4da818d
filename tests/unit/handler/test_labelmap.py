import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from handler.geometry import DecodedImage
from handler.labelmap import Segmentation, confidence_rows, label_map, reported, segmentation
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


@pytest.mark.parametrize(("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_take_the_smallest_integer_that_holds_them(count: int, dtype: npt.DTypeLike) -> None:
    assert Labels(tuple(map(str, range(count))), voc_palette(count)).dtype == np.dtype(dtype)


@pytest.mark.parametrize(("names", "index"), [(("background", "cat"), 0), (("cat", "Background"), 1), (("road", "sky"), None)])
def test_background_is_found_by_its_name(names: tuple[str, ...], index: int | None) -> None:
    assert Labels(names, voc_palette(len(names))).background == index


def of_classes(names: tuple[str, ...], label_map: list[list[int]]) -> Segmentation:
    """Of classes that all have some probability everywhere, on a grid of one cell."""
    labels = Labels(names, voc_palette(len(names)))
    share = np.arange(1, len(names) + 1, dtype=np.float32)
    probabilities = (share / share.sum()).reshape(-1, 1, 1)
    found = np.array(label_map, labels.dtype)
    return Segmentation(np.zeros((*found.shape, 3), np.uint8), found, probabilities, labels)


def test_what_is_not_reported_becomes_background_with_its_probability() -> None:
    result = of_classes(("background", "cat", "dog", "cow"), [[0, 1, 2, 3]])

    kept = reported(result, (2,))

    assert kept.label_map.tolist() == [[0, 0, 2, 0]]
    np.testing.assert_allclose(kept.probabilities.ravel(), [0.7, 0, 0.3, 0], rtol=1e-6)
    assert kept.labels == result.labels


def test_background_stays_whether_it_is_asked_for_or_not() -> None:
    result = of_classes(("background", "cat", "dog"), [[0, 1, 2]])

    assert reported(result, (0, 1)).label_map.tolist() == reported(result, (1,)).label_map.tolist() == [[0, 1, 0]]


def test_all_classes_reported_are_the_result_itself() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    result = segmentation(DecodedImage.whole(np.zeros((9, 7, 3), np.uint8)), logits, LABELS)

    kept = reported(result, (0, 1, 2))

    np.testing.assert_array_equal(kept.label_map, result.label_map)
    np.testing.assert_array_equal(kept.probabilities, result.probabilities)


def test_a_label_set_without_background_gets_one_as_its_last_class() -> None:
    result = of_classes(("road", "sky"), [[0, 1]])

    kept = reported(result, (0,))

    assert kept.label_map.tolist() == [[0, 2]]
    assert (kept.labels.names, kept.labels.palette[2]) == (("road", "sky", "background"), (0, 0, 0))
    np.testing.assert_allclose(kept.probabilities.ravel(), [1 / 3, 0, 2 / 3], rtol=1e-6)


def test_a_background_that_makes_257_classes_needs_16_bits() -> None:
    result = of_classes(tuple(f"c{index}" for index in range(256)), [[0, 255]])

    kept = reported(result, (255,))

    assert result.label_map.dtype == np.uint8
    assert kept.label_map.dtype == np.uint16
    assert kept.label_map.tolist() == [[256, 255]]


@given(st.sets(st.integers(0, 4), min_size=1), st.integers(0, 2**32 - 1))
def test_probabilities_of_what_is_reported_still_sum_to_one(classes: set[int], seed: int) -> None:
    labels = Labels(("background", "a", "b", "c", "d"), voc_palette(5))
    logits = np.random.default_rng(seed).normal(scale=20, size=(5, 4, 3)).astype(np.float32)

    kept = reported(segmentation(DecodedImage.whole(np.zeros((11, 13, 3), np.uint8)), logits, labels), classes)

    np.testing.assert_allclose(kept.probabilities.sum(axis=0), 1, atol=1e-5)
    assert kept.probabilities.min() >= 0
    assert set(np.unique(kept.label_map)) <= classes | {0}
    assert all(rows.min() >= 0 for _, rows in confidence_rows(kept))
