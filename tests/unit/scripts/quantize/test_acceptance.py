from dataclasses import replace

import numpy as np
import pytest

from scripts.evaluate.metrics import compare
from scripts.quantize.acceptance import Acceptance, QuantizationRefused
from scripts.quantize.accuracy_loss import AccuracyLoss

TRUTH = np.repeat(np.arange(2, dtype=np.uint8), 50).reshape(10, 10)


def with_wrong_pixels(count: int) -> AccuracyLoss:
    """Return the loss of a network that labelled everything correctly, and then `count` pixels of class 1 wrong."""
    after = TRUTH.copy()
    after.flat[-count:] = 0
    return AccuracyLoss(1, 1 - count / 100, compare(TRUTH, TRUTH, 2), compare(after, TRUTH, 2))


def test_with_true_labels_the_loss_of_miou_decides() -> None:
    loss = with_wrong_pixels(2)  # IoU of 50/52 and 48/50: 3.92 points.

    Acceptance(max_drop=4, least_agreement=1).check(loss)
    with pytest.raises(QuantizationRefused, match=r"not written: 3\.92 points .* at most 3\.9 \(--max-drop\)"):
        Acceptance(max_drop=3.9).check(loss)


def test_without_true_labels_the_share_of_equal_labels_decides() -> None:
    loss = replace(with_wrong_pixels(2), before=None, after=None)

    Acceptance(max_drop=0, least_agreement=0.98).check(loss)
    with pytest.raises(QuantizationRefused, match=r"not written: 98\.00% .* at least 99\.00% \(--least-agreement\)"):
        Acceptance().check(loss)
