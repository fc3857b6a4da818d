"""The program on real files, with a small stand-in for the default model."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from affine import Affine
from pycocotools.coco import COCO
from rasterio.errors import NotGeoreferencedWarning

from tests.support import ROOT

pq = pytest.importorskip("pyarrow.parquet", reason="the extra 'bulk' is not installed")

from handler.application import Application, Call  # noqa: E402
from handler.archive import extract_archive  # noqa: E402
from scripts.bulk.__main__ import main  # noqa: E402
from tests.unit.scripts.bulk.support import photograph  # noqa: E402
from tests.unit.scripts.rasters.support import InProcessExecutor  # noqa: E402


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tasks in this process, because new processes import for seconds; some tests do start them."""
    for module in ("scripts.bulk.__main__", "scripts.rasters.command"):
        monkeypatch.setattr(f"{module}.make_executor", lambda _: InProcessExecutor())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "a" / "b").mkdir(parents=True)
    for seed, name in enumerate(("one.jpg", "a/two.jpeg", "a/b/three.jpg")):
        (folder / name).write_bytes(photograph(seed))
    return folder


def rows(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(out / "manifest").to_pylist()
    return rows


def statuses(out: Path) -> dict[object, object]:
    assert len({row["path"] for row in rows(out)}) == len(rows(out))
    return {row["name"]: row["status"] for row in rows(out)}


@pytest.mark.usefixtures("in_this_process")
def test_answers_in_several_formats_equal_the_servers(small_archive: Path, photographs: Path, tmp_path: Path) -> None:
    out, formats = tmp_path / "out", "png,overlay,json,coco"
    options = ["--option", "components=true", "--jobs", "1"]
    assert main([str(photographs), "--archive", str(small_archive), "--out", str(out), "--format", formats, *options]) == 0

    folder = tmp_path / "archive"
    folder.mkdir()
    application = Application.load(extract_archive(small_archive, folder))
    data = (photographs / "a/two.jpeg").read_bytes()
    for name, suffix in {"png": ".png", "overlay": ".jpg", "json": ".json.json", "coco": ".coco.json"}.items():
        fields = {"body": data, "format": name, "components": "true", "image_name": "two.jpeg"}
        (reply,) = application.answer([Call(fields)])
        assert (out / f"a/two{suffix}").read_bytes() == reply.body, name

    row = next(row for row in rows(out) if row["name"] == "a/two.jpeg")
    assert (row["width"], row["height"], row["size"], row["attempts"]) == (96, 72, len(data), 1)
    assert sum(segment["pixels"] for segment in row["classes"]) == 96 * 72  # type: ignore[attr-defined]
    assert row["seconds"]["network"] > 0  # type: ignore[index]
    assert row["review"] == pytest.approx(json.loads((out / "a/two.json.json").read_bytes())["review"], abs=1e-4)


@pytest.mark.usefixtures("in_this_process")
def test_a_second_run_processes_only_new_and_changed_images(
    small_archive: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "broken.jpg").write_bytes(b"no image")
    (photographs / "one.png").write_bytes(photograph(7))  # Its answer would have the same name as that of one.jpg.
    command = [str(photographs), "--archive", str(small_archive), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main(command) == 1
    assert "3 done, 0 skipped (done before), 2 failed" in capsys.readouterr().out
    failed = {row["name"]: row["error_type"] for row in rows(tmp_path / "out") if row["status"] == "failed"}
    assert failed == {"broken.jpg": "InvalidImage", "one.png": "NameTaken"}

    assert main(command) == 1
    assert "0 done, 5 skipped (done before), 0 failed" in capsys.readouterr().out
    assert len(rows(tmp_path / "out")) == 5

    (photographs / "one.png").unlink()
    (photographs / "broken.jpg").write_bytes(photograph(8))
    assert main(command) == 0
    assert "1 done, 3 skipped" in capsys.readouterr().out

    assert main([*command, "--option", "components=true"]) == 1
    assert "holds answers to other formats or options" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_answers_are_merged_into_one_data_set(small_archive: Path, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [str(photographs), "--archive", str(small_archive), "--out", str(out), "--format", "coco", "--jobs", "1"]
    assert main([*command, "--merge", "coco"]) == 0
    assert main([*command, "--merge", "parquet"]) == 0

    data_set = COCO(out / "dataset.coco.json")
    assert {image["file_name"] for image in data_set.dataset["images"]} == {"one.jpg", "a/two.jpeg", "a/b/three.jpg"}
    single = {path: json.loads((out / path).read_bytes()) for path in ("one.json", "a/two.json", "a/b/three.json")}
    assert len(data_set.getAnnIds()) == sum(len(answer["annotations"]) for answer in single.values())
    assert len({annotation["id"] for annotation in data_set.dataset["annotations"]}) == len(data_set.getAnnIds())

    table = {row["file_name"]: row for row in pq.read_table(out / "dataset.parquet").to_pylist()}
    expected = single["a/two.json"]["annotations"]
    assert [annotation["area"] for annotation in table["a/two.jpeg"]["annotations"]] == [
        annotation["area"] for annotation in expected
    ]


@pytest.mark.usefixtures("in_this_process")
def test_a_failed_merge_does_not_suppress_the_summary(
    small_archive: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / os.fsdecode(b"\xe9t\xe9.jpg")).write_bytes(photograph(5))  # Latin-1, as in old archives.
    out = tmp_path / "out"
    command = [str(photographs), "--archive", str(small_archive), "--out", str(out), "--merge", "coco", "--jobs", "1"]
    assert main(command) == 0
    names = [name for row in rows(out) for name in row["outputs"]]  # type: ignore[attr-defined]
    assert "\\xe9t\\xe9.png" in names
    assert all((out / name).exists() for name in names)
    (out / "one.json").unlink()
    capsys.readouterr()

    assert main(command) == 1

    captured = capsys.readouterr()
    assert "0 done, 4 skipped (done before), 0 failed" in captured.out
    assert f"--merge coco: {out}/one.json: is missing or broken; --overwrite makes it again" in captured.err


@pytest.mark.usefixtures("in_this_process")
def test_lists_hold_paths_or_bytes_of_images(small_archive: Path, photographs: Path, tmp_path: Path) -> None:
    import pyarrow as pa

    (photographs / "list.csv").write_text("id;path\n1;a/two.jpeg\n2;missing.jpg\n")
    files = [{"bytes": photograph(3), "path": "x/y.jpg"}, {"bytes": photograph(4), "path": None}]
    pq.write_table(pa.table({"image": files}), photographs / "packed.parquet")
    out = tmp_path / "out"
    sources = [str(photographs / "list.csv"), str(photographs / "packed.parquet")]
    assert main([*sources, "--archive", str(small_archive), "--out", str(out), "--jobs", "1"]) == 1
    assert statuses(out) == {
        "a/two.jpeg": "done",
        "missing.jpg": "unanswered",
        "x/y.jpg": "done",
        "packed-000000002": "done",
    }
    assert (out / "x/y.png").exists()


def write_sparse_raster(path: Path, height: int, **georeference: object) -> None:
    """Write an empty 8,192 × `height` GeoTIFF, a few KB."""
    shape = {"count": 3, "height": height, "width": 8192, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape, **georeference):
            pass


@pytest.mark.usefixtures("in_this_process")
def test_the_error_for_an_oversized_raster_recommends_raster(small_archive: Path, tmp_path: Path) -> None:
    folder, georeference = tmp_path / "rasters", {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)}
    folder.mkdir()
    write_sparse_raster(folder / "town.tif", 8192, **georeference)
    write_sparse_raster(folder / "picture.tif", 8192)
    write_sparse_raster(folder / "long.tif", 512, **georeference)
    with (folder / "long.tif").open("ab") as file:
        file.truncate(33_000_000)

    assert main([str(folder), "--archive", str(small_archive), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 1

    failed = {row["name"]: row for row in rows(tmp_path / "out")}
    assert {row["error_type"] for row in failed.values()} == {"ImageTooLarge"}
    assert {name for name, row in failed.items() if "--raster" in str(row["error"])} == {"town.tif", "long.tif"}


@pytest.mark.usefixtures("in_this_process")
def test_raster_runs_the_program_for_rasters(small_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "town.tif", tmp_path / "out"
    georeference = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)}
    with rasterio.open(source, "w", driver="GTiff", count=3, height=60, width=70, dtype="uint8", **georeference) as file:
        file.write(np.random.default_rng(0).integers(0, 256, (3, 60, 70), np.uint8))

    assert main(["--raster", str(source), "--archive", str(small_archive), "--out", str(out), "--jobs", "1"]) == 0

    with rasterio.open(out / "town.labels.tif") as labels:
        assert (labels.shape, labels.crs, labels.transform) == ((60, 70), georeference["crs"], georeference["transform"])
    capsys.readouterr()
    assert main(["--raster", "town.tif", "--merge", "coco"]) == 2
    assert "python -m scripts.bulk --raster --help lists the options" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--raster" in capsys.readouterr().out


@pytest.fixture
def blocking_image(photographs: Path) -> Path:
    """Make a pipe among the photographs; a reader of this image waits until the pipe's other end is closed."""
    path = photographs / "blocking.jpg"
    os.mkfifo(path)
    return path


def wait_until_read(pipe: Path) -> int:
    """Return a descriptor of the pipe's other end, once a process reads it."""
    deadline = time.monotonic() + 300
    while True:
        with suppress(OSError):  # ENXIO: it has no reader yet.
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_ended(processes: Iterable[psutil.Process]) -> None:
    deadline = time.monotonic() + 300
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            while process.status() != psutil.STATUS_ZOMBIE:  # In a container there may be no process that reaps it.
                assert time.monotonic() < deadline
                time.sleep(0.02)


def replace_with_photograph(path: Path) -> None:
    """Replace the pipe for everything that opens it from now on."""
    image = path.with_suffix(".new")
    image.write_bytes(photograph(9))
    image.replace(path)


@pytest.mark.usefixtures("in_this_process")  # The first run is a separate process.
def test_a_killed_run_is_resumed_by_the_next(
    small_archive: Path, blocking_image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [str(blocking_image.parent), "--archive", str(small_archive), "--out", str(out), "--jobs", "1"]
    program = subprocess.Popen([sys.executable, "-m", "scripts.bulk", *command], cwd=ROOT)
    pipe = wait_until_read(blocking_image)
    workers = psutil.Process(program.pid).children()
    assert main(command) == 1
    assert "another run is writing there" in capsys.readouterr().err
    program.kill()
    program.wait()
    replace_with_photograph(blocking_image)
    os.close(pipe)
    wait_until_ended(workers)

    assert main(command) == 0
    assert statuses(out) == dict.fromkeys(("one.jpg", "a/two.jpeg", "a/b/three.jpg", "blocking.jpg"), "done")
    assert len(list(out.glob("**/*.png"))) == 4
    assert not list(out.glob("**/*.part"))


def test_a_killed_worker_is_replaced(small_archive: Path, blocking_image: Path, tmp_path: Path) -> None:
    out, other_processes = tmp_path / "out", multiprocessing.active_children()

    def kill_worker() -> None:
        pipe = wait_until_read(blocking_image)
        replace_with_photograph(blocking_image)
        (worker,) = (child for child in multiprocessing.active_children() if child not in other_processes)
        worker.kill()
        os.close(pipe)

    with ThreadPoolExecutor(1) as pool:
        kill_result = pool.submit(kill_worker)
        assert main([str(blocking_image.parent), "--archive", str(small_archive), "--out", str(out), "--jobs", "1"]) == 0
        kill_result.result()
    assert {row["name"]: row["attempts"] for row in rows(out)} == {
        "one.jpg": 1,
        "a/two.jpeg": 1,
        "a/b/three.jpg": 1,
        "blocking.jpg": 2,
    }
