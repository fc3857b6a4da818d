"""Complete runs on twelve small pictures."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from model import load_checkpoint
from scripts.errors import INTERRUPTED
from scripts.train import main
from scripts.training.run_state import STATE_FILE, read_state
from scripts.training.watch.run_log import read_table
from tests.support import CLASSES, ROOT
from tests.unit.scripts.training.small_run import write_pets

from torchvision.models import mobilenet_v2

pytestmark = pytest.mark.slow

#: Two of the twelve pictures are held out; the ten others give two steps of four in each of two epochs.
STEPS = 4


def losses(folder: Path) -> list[float]:
    return read_table(folder / "steps.csv")["loss"]


def start_process(arguments: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "scripts.train", *arguments]
    # Sums depend on the number of threads, so a process compared with this one must have as many.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_writes_a_servable_checkpoint_and_prints_how_to_serve_it(finished_run: Path) -> None:
    checkpoint = finished_run / "run.safetensors"
    metadata = load_checkpoint(checkpoint).metadata
    assert metadata.classes == CLASSES
    assert metadata.license == "MIT"
    assert metadata.provenance == "trained on 10 images of pets by scripts.train"
    (evaluation,) = metadata.evaluations
    assert evaluation.dataset == "2 validation images of pets"
    assert f"serve it: make serve CHECKPOINT={checkpoint}" in (finished_run.parent / "stdout").read_text()


def test_a_run_calibrates_probabilities_and_prints_the_temperature(finished_run: Path) -> None:
    calibration = load_checkpoint(finished_run / "run.safetensors").metadata.calibration

    assert calibration is not None
    assert (calibration.dataset, calibration.images) == ("pets (validation)", 2)
    assert calibration.nll_after <= calibration.nll_before
    assert f"calibrated: temperature {calibration.temperature:g}, " in (finished_run.parent / "stdout").read_text()
    assert (finished_run / "reliability.png").is_file()


def test_a_run_can_start_from_the_backbone_of_a_classifier(
    tmp_path: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Take steps too small to matter, so that the weights show where the run started."""
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


def test_a_run_logs_and_draws_its_progress(finished_run: Path) -> None:
    assert read_table(finished_run / "steps.csv")["iteration"] == [1, 2, 3, 4]
    scores = read_table(finished_run / "evaluations.csv")
    assert scores["iteration"] == [0, 2, 4]
    assert all(0 <= value <= 1 for value in scores["miou"])
    assert list(finished_run.glob("tensorboard/events*"))
    with Image.open(finished_run / "curves.png") as curves:
        assert curves.width > 500
    assert [path.name for path in sorted((finished_run / "samples").iterdir())] == [f"epoch_00{n}.png" for n in range(3)]
    progress = (finished_run.parent / "stderr").read_text()
    assert all(word in progress for word in ("loss=", "rate=", "mIoU="))


def test_the_loss_falls_during_a_run(tmp_path: Path, arguments: Callable[..., list[str]]) -> None:
    optimizer = {"kind": "adamw", "backbone_learning_rate": 0.001, "head_learning_rate": 0.01}
    # Fifteen steps in one epoch, because each epoch is scored and drawn.
    larger_data = ["--data", str(write_pets(tmp_path / "many", 62))]

    main(arguments("run", *larger_data, epochs=1, validation={"held_out_every": 31}, optimizer=optimizer, ema_decay=0))

    curve = losses(tmp_path / "run")
    assert np.mean(curve[-8:]) < 0.85 * np.mean(curve[:4])


def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(
    tmp_path: Path, finished_run: Path, arguments: Callable[..., list[str]]
) -> None:
    process = start_process(arguments("broken", state_every=1))
    steps = tmp_path / "broken" / "steps.csv"
    while process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) > 1):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert 0 < len(losses(tmp_path / "broken")) < STEPS

    assert main(arguments("broken", "--resume", state_every=1)) == 0

    np.testing.assert_allclose(losses(tmp_path / "broken"), losses(finished_run), rtol=1e-5)
    scores, expected = (read_table(folder / "evaluations.csv")["miou"] for folder in (tmp_path / "broken", finished_run))
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_several_processes_are_started_by_torchrun(
    arguments: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("step", [pytest.param("Run._evaluate", marks=pytest.mark.exhaustive), "Trainer.begin_epoch"])
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


#: Forks a process that writes states for every line read. It prints its id after its first state; the parent reports its end.
WRITE_STATES = """
import os, sys
from pathlib import Path
import torch
from scripts.training.run_state import RunState, write_state

def write(n):
    state = RunState(n, 0.5, None, None, "{}", {"network": {"a": torch.full((200_000,), float(n))}})
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


def test_the_last_state_loads_after_a_kill_during_writing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_STATES, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for attempt in range(5):
            process.stdin.write("\n")
            child = int(process.stdout.readline())
            # At a different moment of a write each time.
            time.sleep(0.013 * attempt)
            os.kill(child, signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"

            state = read_state(tmp_path, "{}")

            assert (state.trainer["network"]["a"] == state.iteration).all()
        process.stdin.close()


def test_validation_masks_with_only_background_give_no_figures(
    tmp_path: Path, data: Path, arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("00", "06"):
        Image.new("L", (80, 60)).save(data / "masks" / f"{name}.png")

    assert main(arguments("run", epochs=1)) == 0

    captured = capsys.readouterr()
    assert "warning: the 2 validation images hold no pixel of cat, dog" in captured.err
    assert "epoch 1 of 1: no scores, because the validation masks hold only background" in captured.out
    assert "saved the best network, of iteration 2" in captured.out
    assert load_checkpoint(tmp_path / "run" / "run.safetensors").metadata.evaluations == ()
    assert load_checkpoint(tmp_path / "run" / "run.safetensors").metadata.calibration is None


def test_the_runs_configuration_is_saved(finished_run: Path) -> None:
    config = json.loads((finished_run / "config.json").read_text())
    assert config["data"]["folder"] == str(finished_run.with_name("pets"))
    assert config["epochs"] == 2


def test_a_diverging_run_stops_with_advice(arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    rates = {"backbone_learning_rate": 1e30, "head_learning_rate": 1e30}

    assert main(arguments("run", epochs=8, optimizer=rates, ema_decay=0)) == 1

    assert "optimizer.clip_norm" in capsys.readouterr().err
