from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handler.labels import Labels
from handler.masks.confidence import interpolate_confidence
from handler.masks.label_map import calibrate, make_label_map, softmax
from handler.masks.segmentation import Segmentation
from model.metadata import MAX_TEMPERATURE, MIN_TEMPERATURE
from model.palette import voc_palette
from scripts.calibrate.pixel_sample import MAX_LOGITS, PixelSample, pixels_per_image
from scripts.calibrate.temperature import calibrate_sample, fit_temperature
from scripts.datasets import VOID


def make_sample(logits: npt.NDArray[Any], truth: npt.NDArray[Any]) -> PixelSample:
    """Return pixels on grid points, so that neighbours have no influence; `logits` n×C."""
    corners = torch.from_numpy(logits.astype(np.float32)).log_softmax(1)[:, None].expand(-1, 4, -1)
    weights = torch.tensor([1.0, 0, 0, 0]).expand(len(logits), 4)
    return PixelSample(corners, weights, torch.from_numpy(logits.argmax(1)), torch.from_numpy(truth))


def draw_sample(temperature: float, pixels: int = 40_000) -> PixelSample:
    """Draw each pixel's class from the probabilities of its logits at `temperature`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(pixels, 5))
    noise = rng.gumbel(size=logits.shape)
    return make_sample(logits, (logits / temperature + noise).argmax(1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_the_fit_recovers_the_temperature_of_the_truth(temperature: float) -> None:
    assert fit_temperature(draw_sample(temperature)) == pytest.approx(temperature, rel=0.02)


def test_calibration_lowers_both_errors_and_records_its_data() -> None:
    calibration = calibrate_sample(draw_sample(2.0), "drawn", 7).calibration

    assert (calibration.dataset, calibration.images, calibration.pixels) == ("drawn", 7, 40_000)
    assert calibration.ece_before > 0.05
    assert calibration.ece_after < 0.01
    assert calibration.nll_after < calibration.nll_before


@pytest.mark.parametrize(("correct", "bound"), [(True, MIN_TEMPERATURE), (False, MAX_TEMPERATURE)])
def test_labels_that_are_all_correct_or_all_wrong_end_at_a_bound(correct: bool, bound: float) -> None:
    logits = np.array([[0.1, 0.0], [0.0, 0.1]] * 50)

    assert fit_temperature(make_sample(logits, logits.argmax(1) if correct else logits.argmin(1))) == pytest.approx(bound)


def segmentation(
    size: tuple[int, int], grid: tuple[int, int], classes: int, seed: int
) -> tuple[Segmentation, npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4, size=(classes, *grid)).astype(np.float32)
    truth = rng.integers(0, classes, size).astype(np.uint8)
    truth[rng.random(size) < 0.3] = VOID
    labels = Labels(tuple(f"c{index}" for index in range(classes)), voc_palette(classes))
    return Segmentation(None, make_label_map(logits, size, np.uint8), softmax(logits), labels), truth


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.6, 1.0, 2.5]))
def test_a_samples_confidence_equals_the_served_one(
    height: int, width: int, rows: int, columns: int, temperature: float
) -> None:
    result, truth = segmentation((height, width), (rows, columns), 3, height)
    calibrated = Segmentation(None, result.label_map, calibrate(result.probabilities, temperature), result.labels)
    expected = np.concatenate([values for _, values in interpolate_confidence(calibrated)])[truth != VOID]

    sample = PixelSample.take(result, truth, truth.size, 0)

    assert len(sample) == (truth != VOID).sum()
    np.testing.assert_allclose(
        np.sort(sample.probability(sample.label, temperature).numpy()), np.sort(expected), rtol=1e-4, atol=1e-5
    )


def test_a_sample_respects_the_limit_on_pixels() -> None:
    result, truth = segmentation((30, 40), (3, 4), 3, 0)

    samples = [PixelSample.take(result, truth, 100, seed) for seed in range(2)]

    assert [len(sample) for sample in samples] == [100, 100]
    assert not torch.equal(samples[0].truth, samples[1].truth)
    assert len(PixelSample.join(samples)) == 200
    assert pixels_per_image(1000, 150) * 1000 * 150 * 4 <= MAX_LOGITS
    assert pixels_per_image(10**9, 150) == 1
