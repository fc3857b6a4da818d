"""Whole runs, on twelve small pictures."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from model import ModelConfig, Normalization, build_model, load_checkpoint, save_checkpoint
from scripts.errors import INTERRUPTED
from scripts.train import main
from scripts.training.run_state import STATE_FILE, read_state
from scripts.training.watch.run_log import read_table
from tests.built_once import built_once
from tests.support import CLASSES, ROOT, metadata

from torchvision.models import mobilenet_v2

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    "model": {"backbone": "mobilenet_v2", "num_classes": 3, "output_stride": 16, "auxiliary_head": True},
    "resize": {"side": "long", "size": 64, "multiple": 16},
    "epochs": 2,
    "batch_size": 4,
    "augmentation": {"crop_size": 64},
    "validation": {"held_out_every": 6},
    "ema_decay": 0.5,
    "class_balance": 0.5,
    "workers": 0,
    "state_every": 1,
}
#: Of twelve pictures two are held out, and the ten others give two steps of four in each of two epochs.
STEPS = 4


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pets(tmp_path / "pets", 12)


def write_pets(root: Path, count: int) -> Path:
    """Write squares of one of two colours on grey: a cat is red, a dog is blue."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    rng = np.random.default_rng(0)
    for index in range(count):
        image, mask = np.full((60, 80, 3), 128, np.uint8), np.zeros((60, 80), np.uint8)
        top, left = rng.integers(0, 30, 2)
        animal = 1 + index % 2
        image[top : top + 25, left : left + 30] = (220, 30, 30) if animal == 1 else (30, 30, 220)
        mask[top : top + 25, left : left + 30] = animal
        Image.fromarray(image).save(root / "images" / f"{index:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index:02}.png")
    return root


@pytest.fixture
def arguments(tmp_path: Path, data: Path) -> Callable[..., list[str]]:
    """The command line of a run in `tmp_path/NAME`, with changes to the configuration."""
    return lambda name, *options, **changes: command_line(tmp_path, data, name, *options, **changes)


def command_line(folder: Path, data: Path, name: str, *options: str, **changes: Any) -> list[str]:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return ["--config", str(path), "--data", str(data), "--out", str(folder / name), *options]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole run, beside what it printed, `stdout` and `stderr`."""

    def run(folder: Path) -> None:
        arguments = command_line(folder, write_pets(folder / "pets", 12), "run", license="MIT")
        out, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(errors):
            assert main(arguments) == 0
        (folder / "stdout").write_text(out.getvalue())
        (folder / "stderr").write_text(errors.getvalue())

    return built_once(tmp_path_factory, "training_run", run) / "run"


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run, for tests that may write into it."""
    return shutil.copytree(finished, tmp_path / "run")


def losses(folder: Path) -> list[float]:
    return read_table(folder / "steps.csv")["loss"]


def start_process(arguments: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "scripts.train", *arguments]
    # Sums depend on the number of threads, so a process compared with this one must have as many.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_ends_with_a_servable_checkpoint_and_says_how_to_serve_it(finished: Path) -> None:
    checkpoint = finished / "run.safetensors"
    described = load_checkpoint(checkpoint).metadata
    assert described.classes == CLASSES
    assert described.license == "MIT"
    assert described.provenance == "trained on 10 images of pets by scripts.train"
    (evaluation,) = described.evaluations
    assert evaluation.dataset == "2 validation images of pets"
    assert f"serve it: make serve CHECKPOINT={checkpoint}" in (finished.parent / "stdout").read_text()


def test_a_run_ends_with_calibrated_probabilities_and_says_what_that_changed(finished: Path) -> None:
    made = load_checkpoint(finished / "run.safetensors").metadata.calibration

    assert made is not None
    assert (made.dataset, made.images) == ("pets (validation)", 2)
    assert made.nll_after <= made.nll_before
    assert f"calibrated: temperature {made.temperature:g}, " in (finished.parent / "stdout").read_text()
    assert (finished / "reliability.png").is_file()


def test_a_run_starts_from_the_backbone_of_a_classifier(
    tmp_path: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps too small to matter show where the run began."""
    classifier = mobilenet_v2().state_dict()
    classifier["features.0.1.running_mean"] += 0.5
    torch.save(classifier, tmp_path / "imagenet.pth")
    optimizer = {"backbone_learning_rate": 1e-12, "weight_decay": 0}
    changes = {
        "optimizer": optimizer,
        "frozen_batch_norm": True,
        "epochs": 1,
        "backbone_weights": str(tmp_path / "imagenet.pth"),
    }

    assert main(arguments("run", **changes)) == 0

    trained = load_checkpoint(tmp_path / "run" / "run.safetensors")
    for name, tensor in trained.network.backbone.state_dict().items():
        torch.testing.assert_close(tensor, classifier[f"features.{name}"], atol=1e-6, rtol=0)
    assert trained.metadata.provenance.endswith("backbone started from imagenet.pth")
    assert "left out: features.* (6 tensors), classifier.1.weight, classifier.1.bias" in capsys.readouterr().out


def test_a_run_can_be_watched(finished: Path) -> None:
    assert read_table(finished / "steps.csv")["iteration"] == [1, 2, 3, 4]
    scores = read_table(finished / "evaluations.csv")
    assert scores["iteration"] == [0, 2, 4]
    assert all(0 <= value <= 1 for value in scores["miou"])
    assert list(finished.glob("tensorboard/events*"))
    with Image.open(finished / "curves.png") as curves:
        assert curves.width > 500
    assert [path.name for path in sorted((finished / "samples").iterdir())] == [f"epoch_00{n}.png" for n in range(3)]
    watched = (finished.parent / "stderr").read_text()
    assert all(word in watched for word in ("loss=", "rate=", "mIoU="))


def test_a_network_learns_what_it_is_shown(tmp_path: Path, arguments: Callable[..., list[str]]) -> None:
    optimizer = {"kind": "adamw", "backbone_learning_rate": 0.001, "head_learning_rate": 0.003}
    # Fifteen steps in one epoch, since each epoch is scored and drawn.
    many = ["--data", str(write_pets(tmp_path / "many", 62))]

    main(arguments("run", *many, epochs=1, validation={"held_out_every": 31}, optimizer=optimizer, ema_decay=0))

    curve = losses(tmp_path / "run")
    assert np.mean(curve[-8:]) < 0.85 * np.mean(curve[:4])


def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(
    tmp_path: Path, finished: Path, arguments: Callable[..., list[str]]
) -> None:
    process = start_process(arguments("broken"))
    steps = tmp_path / "broken" / "steps.csv"
    while process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) > 1):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert 0 < len(losses(tmp_path / "broken")) < STEPS

    assert main(arguments("broken", "--resume")) == 0

    np.testing.assert_allclose(losses(tmp_path / "broken"), losses(finished), rtol=1e-5)
    scores, expected = (read_table(folder / "evaluations.csv")["miou"] for folder in (tmp_path / "broken", finished))
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_several_processes_are_torchruns(arguments: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    replaced_by: list[str] = []

    def replace(_: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        assert environment["OMP_NUM_THREADS"]
        replaced_by.extend(command)
        raise SystemExit

    monkeypatch.setattr("os.execve", replace)
    with pytest.raises(SystemExit):
        main(arguments("two", "--processes", "2"))

    assert replaced_by[1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    assert replaced_by[6:] == ["scripts.train", *arguments("two", "--processes", "2")]


# It starts four processes that import PyTorch. test_trainer.py checks that two processes learn what one does.
@pytest.mark.exhaustive
def test_two_processes_train_together(tmp_path: Path, arguments: Callable[..., list[str]]) -> None:
    process = start_process(arguments("two", "--processes", "2", epochs=1))
    output, errors = process.communicate(timeout=900)

    assert process.returncode == 0, errors
    assert output.count("serve it: make serve") == 1
    assert read_table(tmp_path / "two" / "steps.csv")["iteration"] == [1, 2]
    load_checkpoint(tmp_path / "two" / "two.safetensors")


@pytest.mark.parametrize("step", ["Run._evaluate", "Trainer.begin_epoch"])
def test_a_run_ended_before_its_first_steps_can_be_resumed(
    tmp_path: Path, arguments: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"scripts.training.training_run.{step}", interrupt)
        assert main(arguments("broken", epochs=1)) == INTERRUPTED
    assert (tmp_path / "broken" / STATE_FILE).exists()

    assert main(arguments("broken", "--resume", epochs=1)) == 0

    assert read_table(tmp_path / "broken" / "evaluations.csv")["iteration"] == [0, 2]


#: Forks a process that writes states for every line read. It prints its id after its first state, and this one its end.
WRITE_STATES = """
import os, sys
from pathlib import Path
import torch
from scripts.training.run_state import RunState, write_state

def write(n):
    state = RunState(n, 0.5, None, None, "{}", {"network": {"a": torch.full((2_000_000,), float(n))}})
    write_state(Path(sys.argv[1]), state)

for _ in sys.stdin:
    if child := os.fork():
        os.waitpid(child, 0)
        print("ended", flush=True)
    else:
        write(0)
        print(os.getpid(), flush=True)
        for n in range(1, 10**6):
            write(n)
"""


def test_killed_while_it_writes_a_state_the_last_one_still_loads(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_STATES, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for attempt in range(5):
            process.stdin.write("\n")
            child = int(process.stdout.readline())
            # At another moment of a write each time.
            time.sleep(0.013 * attempt)
            os.kill(child, signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"

            state = read_state(tmp_path, "{}")

            assert (state.trainer["network"]["a"] == state.iteration).all()
        process.stdin.close()


def test_a_state_of_another_configuration_is_refused(
    finished_copy: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("run", "--resume", seed=7)) == 1

    assert f"{STATE_FILE}: has another configuration; resume it with " in capsys.readouterr().err
    assert main(["--config", str(finished_copy / "config.json"), "--out", str(finished_copy), "--resume"]) == 0


def test_a_new_run_does_not_go_over_another(
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
            "augmentation.crop_size 65: smp_deeplabv3 takes multiples of 8 alone, so 64 or 72",
        ),
    ],
)
def test_contradictions_are_named_before_the_first_step(
    tmp_path: Path,
    arguments: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert main(arguments("run", **changes)) == 1

    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "steps.csv").exists()


def test_every_wrong_pair_is_named_before_the_first_step(
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


def test_validation_masks_of_background_alone_give_no_figures(
    tmp_path: Path, data: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("00", "06"):
        Image.new("L", (80, 60)).save(data / "masks" / f"{name}.png")

    assert main(arguments("run", epochs=1)) == 0

    told = capsys.readouterr()
    assert "warning: the 2 validation images hold no pixel of cat, dog" in told.err
    assert "epoch 1 of 1: no figures, for the validation masks hold background alone" in told.out
    assert "saved the best network, of iteration 2" in told.out
    assert load_checkpoint(tmp_path / "run" / "run.safetensors").metadata.evaluations == ()
    assert load_checkpoint(tmp_path / "run" / "run.safetensors").metadata.calibration is None


def test_the_runs_configuration_is_kept(finished: Path) -> None:
    kept = json.loads((finished / "config.json").read_text())
    assert kept["data"]["folder"] == str(finished.with_name("pets"))
    assert kept["epochs"] == 2


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
    described = metadata(model=config, **changes)
    save_checkpoint(tmp_path / "start.safetensors", build_model(config), described)

    assert main(arguments("run", "--start", str(tmp_path / "start.safetensors"))) == 1

    assert message in capsys.readouterr().err


def test_a_run_that_diverges_stops_and_says_so(arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    rates = {"backbone_learning_rate": 1e30, "head_learning_rate": 1e30}

    assert main(arguments("run", epochs=8, optimizer=rates, ema_decay=0)) == 1

    assert "optimizer.clip_norm" in capsys.readouterr().err
