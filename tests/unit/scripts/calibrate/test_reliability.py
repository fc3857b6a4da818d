from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.calibrate.reliability import BINS, Reliability, draw_reliability


def test_the_error_is_the_mean_distance_of_confidence_from_accuracy() -> None:
    # Bins of a fifteenth: two pixels at 0.5 (one right), three at 0.95 (two right).
    counts = Reliability.count(np.array([0.5, 0.5, 0.95, 0.95, 0.95]), np.array([True, False, True, True, False]))

    assert counts.ece == pytest.approx((2 * abs(0.5 - 0.5) + 3 * abs(0.95 - 2 / 3)) / 5)
    np.testing.assert_allclose(counts.points, [[0.5, 0.95], [0.5, 2 / 3]])


def test_full_confidence_is_in_the_last_bin_and_no_pixels_have_no_error() -> None:
    assert Reliability.count(np.array([1.0]), np.array([True])).pixels[-1] == 1
    assert np.isnan(Reliability.zero().ece)


def test_counts_of_parts_add_up_to_the_error_of_all() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(5000).astype(np.float32)
    correct = rng.random(5000) < confidence**2

    parts = [Reliability.count(confidence[part], correct[part]) for part in (slice(0, 1000), slice(1000, None))]

    bins = [(confidence > index / BINS) & (confidence <= (index + 1) / BINS) for index in range(BINS)]
    expected = sum(abs(float(confidence[in_bin].sum()) - int(correct[in_bin].sum())) for in_bin in bins) / len(correct)
    assert (Reliability.zero() + parts[0] + parts[1]).ece == pytest.approx(expected, abs=1e-6)


def test_the_diagram_is_a_small_png(tmp_path: Path) -> None:
    counts = Reliability.count(np.linspace(0, 1, 100), np.linspace(0, 1, 100) > 0.5)

    draw_reliability(tmp_path / "a.png", {"before": counts, "after": counts}, "a model on some images")

    with Image.open(tmp_path / "a.png") as diagram:
        assert diagram.format == "PNG"
    assert (tmp_path / "a.png").stat().st_size < 100_000
