"""Invalid runs are refused before their first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import ModelConfig, Normalization, build_model, save_checkpoint
from scripts.train import main
from scripts.training.run_state import STATE_FILE
from tests.support import metadata
from tests.unit.scripts.training.small_run import CONFIG

pytestmark = pytest.mark.slow


def test_a_state_of_another_configuration_is_refused(
    finished_copy: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("run", "--resume", seed=7)) == 1

    assert f"{STATE_FILE}: has another configuration; resume it with " in capsys.readouterr().err
    assert main(["--config", str(finished_copy / "config.json"), "--out", str(finished_copy), "--resume"]) == 0


def test_a_new_run_does_not_overwrite_another(
    finished_copy: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished_copy.rglob("*") if path.is_file()}

    assert main(arguments("run", seed=9)) == 1

    assert "already holds state.pt of another run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in finished_copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6, "accumulation": 4}, "batch_size 6"),
        ({"batch_size": 4, "accumulation": 4}, "batch normalization needs 2, so 8 or more"),
        ({"augmentation": {"crop_size": None}}, "augmentation.crop_size null: whole images differ in size"),
        ({"loss": {"weight": 0}}, "loss.weight 0: without a teacher there is nothing to learn"),
        ({"palette": [[0, 0, 0], [9, 9, 9]]}, "palette has 2 colours, model.num_classes is 3"),
        ({"batch_size": 32}, "batch_size 32: must be at most the number of training images, 10"),
        ({"model": {"backbone": "mobilenet_v2", "num_classes": 2}}, "pets has 3 classes, model.num_classes is 2"),
        ({"classes": ["a", "b"]}, "classes has 2 names, model.num_classes is 3"),
        ({"epoch": 3}, "unknown key 'epoch', did you mean 'epochs'?"),
        ({"exclude": ["nothing"]}, "nothing"),
        ({"start": "nothing.safetensors"}, "nothing.safetensors"),
        (
            {"model": {"architecture": "smp_deeplabv3", "backbone": "resnet18"}, "augmentation": {"crop_size": 65}},
            "augmentation.crop_size 65: smp_deeplabv3 takes only multiples of 8, so 64 or 72",
        ),
    ],
)
def test_invalid_configurations_are_refused_before_the_first_step(
    tmp_path: Path,
    arguments: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert main(arguments("run", **changes)) == 1

    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "steps.csv").exists()


def test_every_invalid_pair_is_reported_before_the_first_step(
    data: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (80, 61)).save(data / "masks" / "01.png")
    Image.new("L", (80, 60), 9).save(data / "masks" / "02.png")

    assert main(arguments("run")) == 1

    errors = capsys.readouterr().err
    assert "01.png" in errors
    assert "has 80×61 pixels" in errors
    assert "02.png: holds index 9" in errors


def test_a_class_without_a_pixel_is_refused_before_the_first_step(
    tmp_path: Path, data: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (data / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 2, 255, mask).astype(np.uint8)).save(path)

    assert main(arguments("run")) == 1

    errors = capsys.readouterr().err
    assert "pets: no mask holds dog (2); the masks hold 0 (background) in" in errors
    assert '255 means "ignore" here; if it stands for dog, say so with --mask-values 255=dog' in errors
    assert "if this one is absent on purpose, set allow_absent_classes: true in the configuration" in errors
    assert not (tmp_path / "run").exists()


def test_validation_samples_are_not_trained_on(
    data: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [path.stem for path in sorted((data / "images").iterdir())]
    (data / "trainval.txt").write_text("\n".join(names))
    (data / "train.txt").write_text("\n".join(names[:9]))
    (data / "val.txt").write_text("\n".join(names[9:]))

    assert main(arguments("run", epochs=1, train_split="train", validation={"split": "val"})) == 0
    assert main(arguments("other", train_split="val", validation={"split": "val"})) == 1

    assert "3 of 3 validation samples (val) are also training samples (val), for example '09'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalization": Normalization(mean=(0.5, 0.5, 0.5))}, "Normalization(mean=(0.5, 0.5, 0.5)"),
        (
            {"classes": ("background", "dog", "cat")},
            "has the classes background, dog, cat; the run has background, cat, dog",
        ),
    ],
)
def test_a_start_for_other_images_or_classes_is_refused(
    tmp_path: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], changes: Any, message: str
) -> None:
    config = ModelConfig.model_validate(CONFIG["model"])
    start_metadata = metadata(model=config, **changes)
    save_checkpoint(tmp_path / "start.safetensors", build_model(config), start_metadata)

    assert main(arguments("run", "--start", str(tmp_path / "start.safetensors"))) == 1

    assert message in capsys.readouterr().err
