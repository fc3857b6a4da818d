import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, target
from hypothesis import strategies as st
from torch.nn import functional as F

from handler.geometry import DecodedImage
from handler.labels import Labels
from handler.masks.confidence import interpolate_confidence
from handler.masks.label_map import calibrate, make_label_map, softmax
from handler.masks.segmentation import Segmentation, keep_classes, segment_from_logits
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def reference(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    values = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)[0]
    return values.numpy()


@st.composite
def score_grids(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    """Draw noise, smooth ramps, or integers with many ties; C×h×w."""
    shape = draw(st.tuples(st.integers(1, 25), st.integers(1, 9), st.integers(1, 9)))
    kind = draw(st.sampled_from(["noise", "ramps", "integers"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-2, 3, shape) if kind == "integers" else rng.normal(scale=draw(st.integers(1, 30)), size=shape)
    return (values.cumsum(1).cumsum(2) if kind == "ramps" else values).astype(np.float32)


@given(score_grids(), st.tuples(st.integers(1, 120), st.integers(1, 120)))
def test_labels_are_the_argmax_of_the_interpolated_logits(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> None:
    values = reference(logits, size)

    labels = make_label_map(logits, size, np.uint8)

    assert labels.shape == size
    assert labels.dtype == np.uint8
    # Either class may win a tie within rounding.
    target(float(np.mean(labels != values.argmax(0))), label="share of ties")
    label_logits = np.take_along_axis(values, labels[None].astype(np.int64), 0)[0]
    np.testing.assert_allclose(label_logits, values.max(0), rtol=0, atol=3e-6 * np.abs(logits).max())


@pytest.mark.slow
def test_fewer_than_one_pixel_in_100_000_is_a_rounding_tie() -> None:
    values = reference(scene(21, (65, 87)), (1200, 1600))

    labels = make_label_map(scene(21, (65, 87)), (1200, 1600), np.uint8)

    assert np.unique(labels).size > 5
    assert np.mean(labels != values.argmax(0)) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_an_image_smaller_than_the_grid_is_labelled_at_its_pixels_centres(size: tuple[int, int]) -> None:
    logits = scene(21, (65, 87))

    np.testing.assert_array_equal(make_label_map(logits, size, np.uint8), reference(logits, size).argmax(0))


def test_three_classes_that_meet_inside_a_cell_share_it() -> None:
    logits = np.array([[[9, 0], [0, 0]], [[0, 9], [0, 0]], [[0, 0], [4, 4]]], np.float32)

    labels = make_label_map(logits, (8, 8), np.uint8)

    assert labels.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 2, 2, 1, 1, 1],
        [2, 2, 2, 2, 2, 2, 2, 2],
        [2, 2, 2, 2, 2, 2, 2, 2],
        [2, 2, 2, 2, 2, 2, 2, 2],
    ]


def test_labels_above_255_take_16_bits() -> None:
    logits = np.zeros((300, 1, 2), np.float32)
    logits[299, 0, 0] = logits[3, 0, 1] = 1

    labels = make_label_map(logits, (1, 4), np.uint16)

    assert labels.tolist() == [[299, 299, 3, 3]]


@pytest.mark.parametrize("make_logits", [lambda: scene(21, (65, 87)), lambda: noise(21, (65, 87))], ids=["scene", "noise"])
def test_memory_beyond_the_labels_does_not_grow_with_pixels_times_classes(
    make_logits: Callable[[], npt.NDArray[np.float32]],
) -> None:
    logits, size = make_logits(), (4000, 6000)
    tracemalloc.start()

    make_label_map(logits, size, np.uint8)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24_000_000 + 60_000_000


def noise(classes: int, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(classes, *grid)).astype(np.float32)


def scene(classes: int, grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return logits of large regions with some noise."""
    regions = torch.from_numpy(noise(classes, (6, 8)) * 8)[None]
    logits: npt.NDArray[np.float32] = F.interpolate(regions, grid, mode="bicubic", align_corners=False)[0].numpy()
    return logits + np.float32(0.3) * noise(classes, grid)


def test_a_checkerboard_of_logits_at_image_size_is_reproduced() -> None:
    board = np.indices((6, 8)).sum(0) % 2
    logits = np.stack([1 - board, board]).astype(np.float32)

    np.testing.assert_array_equal(make_label_map(logits, (6, 8), np.uint8), board)


@pytest.mark.parametrize(("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_labels_take_the_smallest_integer_that_holds_them(count: int, dtype: npt.DTypeLike) -> None:
    assert Labels(tuple(map(str, range(count))), voc_palette(count)).dtype == np.dtype(dtype)


def test_a_temperature_divides_the_logits() -> None:
    probabilities = softmax(np.array([[[0.0]], [[1.0]]], np.float32), 0.5)

    np.testing.assert_allclose(probabilities.ravel(), [1 / (1 + np.e**2), np.e**2 / (1 + np.e**2)], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.8, 3.0, 20.0]))
def test_calibrating_probabilities_equals_calibrating_logits(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(scale=5, size=(5, 4, 3)).astype(np.float32)

    calibrated = calibrate(softmax(logits), temperature)

    np.testing.assert_allclose(calibrated, softmax(logits, temperature), atol=1e-5)
    np.testing.assert_array_equal(calibrated.argmax(0), logits.argmax(0))


def test_calibration_keeps_zeros_and_temperature_1_changes_no_bit() -> None:
    probabilities = np.array([[[0.0]], [[0.25]], [[0.75]]], np.float32)

    np.testing.assert_allclose(calibrate(probabilities, 0.5).ravel(), [0, 0.1, 0.9], rtol=1e-6)
    assert calibrate(probabilities, 1.0).tobytes() == probabilities.tobytes()


@pytest.mark.parametrize(
    ("names", "index"),
    [(("background", "cat"), 0), (("cat", "Background"), 1), (("cat", "_background_"), 1), (("road", "sky"), None)],
)
def test_background_is_found_by_its_name(names: tuple[str, ...], index: int | None) -> None:
    assert Labels(names, voc_palette(len(names))).background == index


def segmentation_of(names: tuple[str, ...], label_map: list[list[int]]) -> Segmentation:
    """Build a segmentation on a grid of one cell where every class has some probability."""
    labels = Labels(names, voc_palette(len(names)))
    weights = np.arange(1, len(names) + 1, dtype=np.float32)
    probabilities = (weights / weights.sum()).reshape(-1, 1, 1)
    indices = np.array(label_map, labels.dtype)
    return Segmentation(np.zeros((*indices.shape, 3), np.uint8), indices, probabilities, labels)


def test_dropped_classes_become_background_with_their_probability() -> None:
    result = segmentation_of(("background", "cat", "dog", "cow"), [[0, 1, 2, 3]])

    filtered = keep_classes(result, (2,))

    assert filtered.label_map.tolist() == [[0, 0, 2, 0]]
    np.testing.assert_allclose(filtered.probabilities.ravel(), [0.7, 0, 0.3, 0], rtol=1e-6)
    assert filtered.labels == result.labels


def test_background_stays_whether_or_not_it_is_requested() -> None:
    result = segmentation_of(("background", "cat", "dog"), [[0, 1, 2]])

    assert keep_classes(result, (0, 1)).label_map.tolist() == keep_classes(result, (1,)).label_map.tolist() == [[0, 1, 0]]


def test_keeping_all_classes_changes_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    result = segment_from_logits(DecodedImage.from_pixels(np.zeros((9, 7, 3), np.uint8)), logits, LABELS)

    filtered = keep_classes(result, (0, 1, 2))

    np.testing.assert_array_equal(filtered.label_map, result.label_map)
    np.testing.assert_array_equal(filtered.probabilities, result.probabilities)


def test_a_label_set_without_background_gets_one_as_its_last_class() -> None:
    result = segmentation_of(("road", "sky"), [[0, 1]])

    filtered = keep_classes(result, (0,))

    assert filtered.label_map.tolist() == [[0, 2]]
    assert (filtered.labels.names, filtered.labels.palette[2]) == (("road", "sky", "background"), (0, 0, 0))
    np.testing.assert_allclose(filtered.probabilities.ravel(), [1 / 3, 0, 2 / 3], rtol=1e-6)


def test_a_background_added_as_the_257th_class_takes_16_bits() -> None:
    result = segmentation_of(tuple(f"c{index}" for index in range(256)), [[0, 255]])

    filtered = keep_classes(result, (255,))

    assert result.label_map.dtype == np.uint8
    assert filtered.label_map.dtype == np.uint16
    assert filtered.label_map.tolist() == [[256, 255]]


@given(st.sets(st.integers(0, 4), min_size=1), st.integers(0, 2**32 - 1))
def test_probabilities_of_kept_classes_still_sum_to_one(classes: set[int], seed: int) -> None:
    labels = Labels(("background", "a", "b", "c", "d"), voc_palette(5))
    logits = np.random.default_rng(seed).normal(scale=20, size=(5, 4, 3)).astype(np.float32)

    filtered = keep_classes(
        segment_from_logits(DecodedImage.from_pixels(np.zeros((11, 13, 3), np.uint8)), logits, labels), classes
    )

    np.testing.assert_allclose(filtered.probabilities.sum(axis=0), 1, atol=1e-5)
    assert filtered.probabilities.min() >= 0
    assert set(np.unique(filtered.label_map)) <= classes | {0}
    assert all(rows.min() >= 0 for _, rows in interpolate_confidence(filtered))
