from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from handler.labels import Labels
from handler.masks.label_map import make_label_map, softmax
from handler.masks.segmentation import Segmentation
from model.palette import voc_palette
from scripts.datasets import VOID
from scripts.evaluate.doubt import PixelCalibration, Ranking

LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


def segmentation(seed: int) -> tuple[Segmentation, npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(3, 4, 5)).astype(np.float32)
    truth = rng.integers(0, 3, (30, 40)).astype(np.uint8)
    truth[:5] = VOID
    return Segmentation(None, make_label_map(logits, (30, 40), np.uint8), softmax(logits), LABELS), truth


def test_nll_equals_torchs_for_interpolated_probabilities() -> None:
    parts = [segmentation(seed) for seed in range(2)]
    losses = [
        F.nll_loss(
            F.interpolate(torch.from_numpy(result.probabilities)[None], (30, 40), mode="bilinear").log(),
            torch.from_numpy(truth.astype(np.int64))[None],
            ignore_index=VOID,
        )
        for result, truth in parts
    ]

    measured = [PixelCalibration.measure(result, truth) for result, truth in parts]
    total = PixelCalibration.zero() + measured[0] + measured[1]

    assert total.nll == pytest.approx(float(sum(losses)) / 2, rel=1e-4)
    assert total.reliability.pixels.sum() == 2 * 25 * 40


def test_full_confidence_with_half_of_the_pixels_wrong_has_an_error_of_half() -> None:
    probabilities = np.zeros((3, 1, 1), np.float32)
    probabilities[1] = 1
    truth = np.array([[1, 1, 2, 2, VOID]], np.uint8)

    measured = PixelCalibration.measure(Segmentation(None, np.ones((1, 5), np.uint8), probabilities, LABELS), truth)

    assert (measured.reliability.ece, measured.confidence) == (0.5, 1.0)
    assert measured.nll == pytest.approx(-np.log(1e-12) / 2)


def test_the_figures_of_an_image_of_void_are_nan() -> None:
    result, truth = segmentation(0)

    measured = PixelCalibration.measure(result, np.full_like(truth, VOID))

    assert np.isnan([measured.nll, measured.confidence, measured.reliability.ece]).all()


def test_rankings_equal_those_computed_by_hand() -> None:
    errors = [0.1, 0.2, 0.4, 0.8]

    # The two worst are above the median; the means of the first one, two, three and four errors are averaged.
    itself, swapped = (Ranking.of(doubt, errors) for doubt in (errors, [0.0, 3.0, 2.0, 4.0]))
    assert (itself.auroc, swapped.auroc) == (1.0, 0.75)
    assert itself.aurc == pytest.approx((0.1 + 0.15 + 0.7 / 3 + 0.375) / 4)
    assert swapped.aurc == pytest.approx((0.1 + 0.25 + 0.7 / 3 + 0.375) / 4)
    assert Ranking.of([1.0] * 4, errors).auroc == 0.5
    assert np.isnan(Ranking.of([0.3], [0.5]).auroc)
