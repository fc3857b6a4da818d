"""The probability of each pixel's class."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from handler.labels import Labels
from handler.masks import confidence
from handler.masks.confidence import interpolate_confidence, sum_over_runs
from handler.masks.run_lengths import find_column_runs
from handler.masks.segmentation import Segmentation
from model.palette import voc_palette


@st.composite
def segmentations(draw: st.DrawFn) -> Segmentation:
    """Draw a segmentation whose labels are regions or noise, unrelated to its probabilities."""
    classes = draw(st.integers(1, 5))
    grid = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    size = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    block_size = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = rng.integers(0, classes, (-(-size[0] // block_size), -(-size[1] // block_size)), np.uint8)
    labels = np.kron(blocks, np.ones((block_size, block_size), np.uint8))[: size[0], : size[1]]
    probabilities = rng.random((classes, *grid), np.float32)
    names = tuple(map(str, range(classes)))
    return Segmentation(np.zeros((*size, 3), np.uint8), labels, probabilities, Labels(names, voc_palette(classes)))


def interpolate_with_torch(result: Segmentation) -> npt.NDArray[np.float32]:
    """Return the probability of each pixel's class, interpolated by torch."""
    scores = torch.from_numpy(result.probabilities)[None]
    dense = F.interpolate(scores, result.label_map.shape, mode="bilinear", align_corners=False)[0].numpy()
    values: npt.NDArray[np.float32] = np.take_along_axis(dense, result.label_map[None].astype(np.int64), 0)[0]
    return values


@given(segmentations(), st.integers(1, 4000))
def test_each_pixel_has_the_interpolated_probability_of_its_class(result: Segmentation, pixels_at_once: int) -> None:
    confidence_map = np.full(result.label_map.shape, np.nan, np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confidence, "_PIXELS_AT_ONCE", pixels_at_once)
        for rows, values in interpolate_confidence(result):
            confidence_map[rows] = values

    np.testing.assert_allclose(confidence_map, interpolate_with_torch(result), rtol=0, atol=2e-6)


@given(segmentations())
def test_the_sum_over_a_run_equals_the_sum_of_its_pixels(result: Segmentation) -> None:
    runs = find_column_runs(result.label_map)
    dense = np.empty(result.label_map.shape)
    for rows, values in interpolate_confidence(result):
        dense[rows] = values

    sums = sum_over_runs(result.probabilities, runs, runs.ids)

    np.testing.assert_allclose(sums, np.add.reduceat(dense.ravel(order="F"), runs.starts), rtol=1e-6, atol=1e-5)


def test_runs_are_summed_by_class_not_by_segment() -> None:
    runs = find_column_runs(np.array([[7, 7], [9, 9]]))
    probabilities = np.array([[[0.25, 0.75]], [[0, 0]]], np.float32)

    assert sum_over_runs(probabilities, runs, np.array([0, 0, 0, 1])).tolist() == [0.25, 0.25, 0.75, 0.0]
