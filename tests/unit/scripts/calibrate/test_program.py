from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file

from model import read_metadata
from scripts.calibrate.__main__ import main
from tests.support import CLASSES, noise, write_checkpoint


def write_data(root: Path, masks: list[npt.NDArray[Any]], classes: tuple[str, ...] = CLASSES) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index, mask in enumerate(masks):
        Image.fromarray(noise(*mask.shape)).save(root / "images" / f"{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(classes))
    return root


def constant_mask(index: int) -> npt.NDArray[Any]:
    return np.full((30, 40), index, np.uint8)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_only_metadata_changes_and_an_earlier_calibration_is_ignored(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_data(tmp_path / "pets", [constant_mask(1), constant_mask(2)]), tmp_path / "b.safetensors"

    assert main([str(checkpoint), "--data", str(data), "--out", str(out)]) == 0
    assert main([str(out), "--data", str(data)]) == 0

    metadata, calibration = read_metadata(checkpoint), read_metadata(out).calibration
    assert calibration is not None
    assert (calibration.dataset, calibration.images, calibration.pixels) == ("pets", 2, 2400)
    assert calibration.nll_after <= calibration.nll_before
    assert metadata.calibration is None
    assert read_metadata(out) == metadata.model_copy(update={"calibration": calibration})
    before, after = load_file(checkpoint), load_file(out)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert (tmp_path / "b.reliability.png").is_file()
    temperatures = [line.partition("temperature ")[2] for line in capsys.readouterr().out.splitlines() if "temperature" in line]
    assert len(temperatures) == 2
    assert temperatures[0] == temperatures[1]


def test_data_with_other_classes_or_only_background_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_classes = write_data(tmp_path / "other", [constant_mask(1)], ("background", "cat"))
    empty = write_data(tmp_path / "empty", [constant_mask(0)])
    void = write_data(tmp_path / "void", [constant_mask(255)])

    assert [main([str(checkpoint), "--data", str(data)]) for data in (two_classes, empty, void)] == [1, 1, 1]

    errors = capsys.readouterr().err
    assert "has 2 classes, the model has 3" in errors
    assert errors.count("Without another class, there is no doubt to measure") == 2
    assert read_metadata(checkpoint).calibration is None


def test_photographs_without_masks_are_refused(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(noise(30, 40)).save(tmp_path / "photos" / "a.png")

    assert main([str(checkpoint), "--data", str(tmp_path / "photos")]) == 1

    assert str(tmp_path / "photos") in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a.mar"], ["a.safetensors", "--out", "b.pth"]])
def test_only_checkpoints_are_accepted(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--data", str(tmp_path)]) == 2

    assert "must be a checkpoint (.safetensors)" in capsys.readouterr().err
