"""Artefacts that take seconds to build: each is built by the first process that needs it and read by all of the session."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder `name` that `build` has filled; tests must not write into it.

    While one process builds, others that need the same folder wait. A build that fails is tried again by the next.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # Then each process has a folder of its own in that of the session.
        session = session.parent
    folder, built = session / name, session / f"{name}.built"
    with FileLock(f"{folder}.lock"):
        if not built.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            built.touch()
    return folder
