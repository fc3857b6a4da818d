import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from handler.answers import FORMATS
from handler.labels import Labels
from handler.masks import uncertainty
from handler.masks.segmentation import Segmentation
from handler.masks.uncertainty import MEASURES, interpolate_uncertainty
from handler.options import AnswerOptions, ModelIdentity, Uncertainty
from model.palette import voc_palette

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def segmentation_of(probabilities: npt.NDArray[Any], size: tuple[int, int]) -> Segmentation:
    return Segmentation(None, np.zeros(size, np.uint8), probabilities.astype(np.float32), LABELS)


def uncertainty_of(result: Segmentation, measure: Uncertainty) -> npt.NDArray[Any]:
    return np.concatenate([values for _, values in interpolate_uncertainty(result, measure)])


@pytest.mark.parametrize(
    ("measure", "levels"),
    [
        ("margin", [0, round(255 * 0.5), 255]),
        ("entropy", [0, round(255 * -(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)) / np.log(3)), 255]),
    ],
)
def test_a_pixel_on_a_grid_point_has_its_uncertainty_times_255(measure: Uncertainty, levels: list[int]) -> None:
    points = np.array([[1, 0, 0], [0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]]).T[:, None]

    response = FORMATS["uncertainty"].encode(
        segmentation_of(points, (1, 3)), ModelIdentity("m", "1"), AnswerOptions(uncertainty=measure)
    )

    picture = Image.open(io.BytesIO(response.body))
    assert (picture.mode, picture.size, picture.info["uncertainty"]) == ("L", (3, 1), measure)
    assert np.asarray(picture).tolist() == [levels]


def test_uncertainty_rises_between_certain_points_of_different_classes() -> None:
    row = uncertainty_of(segmentation_of(np.eye(3)[:, None, :2], (1, 8)), "margin")[0]

    # Half-pixel centres: the second class has 0, 0, 0.125, 0.375, … of the weight.
    np.testing.assert_allclose(row, [0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0], atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@given(grid=st.tuples(st.integers(1, 4), st.integers(1, 4)), pixels=st.tuples(st.integers(1, 16), st.integers(1, 16)))
def test_up_to_four_pixels_per_cell_the_interpolated_probabilities_count(
    measure: Uncertainty, grid: tuple[int, int], pixels: tuple[int, int]
) -> None:
    (rows, columns), (height, width) = grid, pixels
    size = min(height, 4 * rows), min(width, 4 * columns)
    probabilities = np.random.default_rng(0).dirichlet([0.5] * 3, (rows, columns)).transpose(2, 0, 1)
    result = segmentation_of(probabilities, size)
    interpolated = F.interpolate(torch.from_numpy(result.probabilities)[None], size, mode="bilinear", align_corners=False)[0]

    values = uncertainty_of(result, measure)

    np.testing.assert_allclose(values, MEASURES[measure](interpolated.numpy()), atol=1e-4)


def test_strips_do_not_change_the_uncertainty(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.random.default_rng(0).dirichlet([0.5] * 3, (7, 9)).transpose(2, 0, 1)
    expected = uncertainty_of(segmentation_of(probabilities, (130, 90)), "entropy")

    monkeypatch.setattr(uncertainty, "_VALUES_AT_ONCE", 200)
    monkeypatch.setattr(uncertainty, "_PIXELS_AT_ONCE", 300)

    np.testing.assert_array_equal(uncertainty_of(segmentation_of(probabilities, (130, 90)), "entropy"), expected)
    assert expected.shape == (130, 90)
    assert 0 <= expected.min() <= expected.max() <= 1 + 1e-6
