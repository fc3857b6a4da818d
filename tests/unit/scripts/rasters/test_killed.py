"""After a raster's process is killed by SIGKILL, the resumed run writes the same bytes as an undisturbed one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from scripts.rasters import mosaics, parts, run, vectors
from scripts.rasters.plan import WindowOptions
from scripts.rasters.run import RasterJob
from tests.support import ROOT
from tests.unit.scripts.rasters.support import SMALL_BLOCKS, InProcessExecutor, colours, segment, write_raster

pytestmark = pytest.mark.slow

pytest.importorskip("pyogrio", reason="the extra 'rasters' is not installed")

_FORMATS = ("labels", "confidence", "gpkg")
#: When a process is killed: the function whose call ends it, the call's number, and the number of blocks kept.
MOMENTS: dict[str, tuple[object, str, int, int]] = {
    "between blocks": (parts.Parts, "add", 3, 2),
    "writing labels": (mosaics.Mosaic, "write", 4, 9),
    "finishing labels": (mosaics.Mosaic, "finish", 2, 9),
    "writing polygons": (vectors, "_write", 2, 9),
    "writing the record": (run, "_write_record", 1, 9),
}


def job(folder: Path, name: str) -> RasterJob:
    return RasterJob(str(folder / "in.tif"), folder / name, _FORMATS, window_options=WindowOptions(64, 16))


def kill_at_call(original: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return `original`, wrapped to kill its process at its call of this number."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    return call


def run_killed_jobs(folder: Path) -> None:
    """Start the raster once for each moment, in separate processes that are killed at that moment.

    They are forked from a process that has computed nothing yet, which saves their imports.
    """
    for name, (owner, function, number, _) in MOMENTS.items():
        process = os.fork()
        if not process:
            patched = patch.object(owner, function, kill_at_call(getattr(owner, function), number))
            with SMALL_BLOCKS, patch.object(vectors, "_CHUNK_FEATURES", 20), patched:
                segment(job(folder, name))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the outputs of an undisturbed run, `undisturbed`, and of killed runs."""
    folder = tmp_path_factory.mktemp("killed")
    write_raster(folder / "in.tif", colours(350, 370, patch=30))
    with SMALL_BLOCKS:
        segment(job(folder, "undisturbed"))
    program = "import sys, pathlib, tests.unit.scripts.rasters.test_killed as t; t.run_killed_jobs(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_resuming_a_killed_run_writes_the_same_bytes(folder: Path, moment: str) -> None:
    with SMALL_BLOCKS:
        report = segment(job(folder, moment), InProcessExecutor())

    assert report.reused == MOMENTS[moment][3]
    for suffix in (".labels.tif", ".labels.tif.aux.xml", ".confidence.tif", ".gpkg"):
        assert (folder / f"{moment}{suffix}").read_bytes() == (folder / f"undisturbed{suffix}").read_bytes()
    remaining_suffixes = {path.name.removeprefix(moment) for path in folder.iterdir() if path.name.startswith(f"{moment}.")}
    assert remaining_suffixes == {".labels.tif", ".labels.tif.aux.xml", ".confidence.tif", ".gpkg", ".json"}


if __name__ == "__main__":
    run_killed_jobs(Path(sys.argv[1]))
