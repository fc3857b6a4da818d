"""Artefacts that take seconds to build: the first process that needs one builds it, and the whole session reads it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return the folder `name` filled by `build`; tests must not write into it.

    While one process builds, others that need the same folder wait. If a build fails, the next process tries again.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # Each process has a separate folder inside the session's.
        session = session.parent
    folder, marker = session / name, session / f"{name}.built"
    with FileLock(f"{folder}.lock"):
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            marker.touch()
    return folder
