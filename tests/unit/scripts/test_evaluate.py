from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model import read_metadata
from scripts.evaluate import main, score
from tests.support import noise, write_checkpoint


def maps(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return np.array(rows, np.uint8)


TRUE = maps([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 255, 255]])
PREDICTED = maps([[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 2, 1], [0, 0, 0, 1]])


def test_iou_and_accuracy_are_those_worked_out_by_hand() -> None:
    scores = score([(PREDICTED, TRUE)], 4)

    # Class 0: 7 right of 8 true, 8 predicted where not void. Class 1: 3 of 4, 5 predicted. Class 2: 1 of 2, 1 predicted.
    np.testing.assert_allclose(scores.iou, [7 / 9, 3 / 6, 1 / 2, np.nan])
    assert scores.pixel_accuracy == pytest.approx(11 / 14)
    assert scores.miou == pytest.approx((7 / 9 + 1 / 2 + 1 / 2) / 3)


def test_counts_are_added_over_images_before_they_are_divided() -> None:
    one_right = (maps([[1, 1]]), maps([[1, 1]]))
    one_wrong = (maps([[0, 0, 0, 0]]), maps([[1, 1, 0, 0]]))

    scores = score([one_right, one_wrong], 2)

    np.testing.assert_allclose(scores.iou, [2 / 4, 2 / 4])


def test_void_counts_for_nothing() -> None:
    scores = score([(maps([[0, 1, 1]]), maps([[0, 255, 255]]))], 2)

    np.testing.assert_allclose(scores.iou, [1, np.nan])
    assert scores.pixel_accuracy == 1


def test_figures_are_printed_and_recorded_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.safetensors")
    for name in ("JPEGImages", "SegmentationClass"):
        (tmp_path / name).mkdir()
    Image.fromarray(noise(30, 40)).save(tmp_path / "JPEGImages" / "one.jpg")
    Image.new("L", (40, 30), 1).save(tmp_path / "SegmentationClass" / "one.png")
    (tmp_path / "val.txt").write_text("one")

    for _ in range(2):
        assert main([str(checkpoint), "--data", str(tmp_path), "--record", "one picture"]) == 0

    assert "mIoU" in capsys.readouterr().out
    (evaluation,) = read_metadata(checkpoint).evaluations
    assert (evaluation.dataset, evaluation.conditions) == ("one picture", "1 images, single scale")
