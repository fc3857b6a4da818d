"""Twelve small pictures, and a complete run on them."""

import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.built_once import built_once
from tests.unit.scripts.training.small_run import command_line, write_pets


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pets(tmp_path / "pets", 12)


@pytest.fixture
def arguments(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return the command line of a run in `tmp_path/NAME`, with changes to the configuration.

    Drawing, a third of a run's time, is disabled; `finished_run` has every picture.
    """
    for name in ("draw_curves", "draw_reliability", "draw_samples"):
        monkeypatch.setattr(f"scripts.training.training_run.{name}", lambda *_: None)
    return lambda name, *options, **changes: command_line(tmp_path, data, name, *options, **changes)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a complete run, beside its output in `stdout` and `stderr`."""
    # Imports the training libraries, which takes seconds.
    from scripts.train import main

    def run(folder: Path) -> None:
        arguments = command_line(folder, write_pets(folder / "pets", 12), "run", license="MIT")
        out, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(errors):
            assert main(arguments) == 0
        (folder / "stdout").write_text(out.getvalue())
        (folder / "stderr").write_text(errors.getvalue())

    return built_once(tmp_path_factory, "training_run", run) / "run"


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run, for tests that may write into it."""
    return shutil.copytree(finished_run, tmp_path / "run")
