"""The program with a bucket on a real S3 server on loopback, and with `http://`."""

import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="the extra 'bulk' is not installed")
s3fs = pytest.importorskip("s3fs", reason="the extra 's3' is not installed")
boto3 = pytest.importorskip("boto3", reason="moto is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto is not installed")

from scripts.bulk import destinations, storage  # noqa: E402
from scripts.bulk.__main__ import main  # noqa: E402
from scripts.bulk.destinations import StoreDestination, make_destination  # noqa: E402
from scripts.bulk.errors import BulkError, ReadError  # noqa: E402
from scripts.bulk.lists import ListColumns  # noqa: E402
from scripts.bulk.sources import find_sources  # noqa: E402
from scripts.errors import UsageError  # noqa: E402
from scripts.rasters.outputs import make_outputs  # noqa: E402
from scripts.rasters.plan import WindowOptions  # noqa: E402
from scripts.rasters.run import RasterJob, RasterReport  # noqa: E402
from tests.unit.scripts.bulk.support import photograph  # noqa: E402
from tests.unit.scripts.rasters.support import SMALL_BLOCKS, InProcessExecutor, card, colours, prepare, segment, write_raster  # noqa: E402

pytestmark = pytest.mark.slow


class Bucket:
    """A bucket with images below `in/`."""

    name = "photos"

    def __init__(self, client: Any) -> None:
        self.client = client
        client.create_bucket(Bucket=self.name)
        for seed, key in enumerate(("in/one.jpg", "in/x/two.jpg", "in/x/three.png", "in/.hidden.jpg")):
            self.write(key, photograph(seed))
        self.write("in/broken.jpg", b"no image")
        self.write("in/notes.txt", b"no image")
        self.write("inside-another-prefix.jpg", photograph(9))

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def keys(self, prefix: str) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", ())}

    def manifest(self) -> list[dict[str, Any]]:
        parts = sorted(self.keys("masks/manifest/"))
        return [row for part in parts for row in pq.read_table(io.BytesIO(self.read(f"masks/manifest/{part}"))).to_pylist()]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # So that listings have several pages.
        forget_stores()
        try:
            yield Bucket(boto3.client("s3"))
        finally:
            forget_stores()
            server.stop()


def forget_stores() -> None:
    storage._store.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a web server with `album/web.jpg`; yield its URL."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "album").mkdir()
    (folder / "album" / "web.jpg").write_bytes(photograph(5))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def command(bucket: Bucket, web: str, small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Complete a run on a bucket and a text list of a URL, an object and a file, with answers in the bucket."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "local.jpg").write_bytes(photograph(6))
    paths = folder / "list.txt"
    paths.write_text(f"# three\n{web}/album/web.jpg\ns3://photos/in/one.jpg\n\nlocal.jpg\n")
    sources = [f"s3://{bucket.name}/in", str(paths)]
    command = [*sources, "--archive", str(small_archive), "--out", "s3://photos/masks", "--merge", "coco", "--jobs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.bulk.__main__.make_executor", lambda _: InProcessExecutor())
        assert main(command) == 1
    return command


@pytest.mark.usefixtures("command")
def test_images_of_bucket_and_web_have_answers_in_the_bucket(bucket: Bucket) -> None:
    names = {"one", "x/two", "x/three", "album/web", "local"}
    answers = {f"{name}{suffix}" for name in names for suffix in (".png", ".json")}
    assert {key for key in bucket.keys("masks/") if not key.startswith("manifest/")} == answers | {"dataset.coco.json"}


@pytest.mark.usefixtures("command")
def test_every_image_has_a_row_with_its_etag_or_its_error(bucket: Bucket, web: str) -> None:
    rows = {row["path"]: row for row in bucket.manifest()}
    assert len(rows) == len(bucket.manifest()) == 6
    broken = rows.pop("s3://photos/in/broken.jpg")
    assert (broken["status"], broken["error_type"]) == ("failed", "InvalidImage")
    assert {row["status"] for row in rows.values()} == {"done"}
    assert all(row["etag"] for row in rows.values())
    head = bucket.client.head_object(Bucket="photos", Key="in/one.jpg")
    row = rows["s3://photos/in/one.jpg"]
    assert (row["size"], row["etag"]) == (head["ContentLength"], head["ETag"].strip('"'))
    assert rows[f"{web}/album/web.jpg"]["size"] == len(photograph(5))


@pytest.mark.usefixtures("command")
def test_the_data_set_in_the_bucket_has_every_image_with_an_answer(bucket: Bucket) -> None:
    data_set = json.loads(bucket.read("masks/dataset.coco.json"))
    names = {"one.jpg", "x/two.jpg", "x/three.png", "album/web.jpg", "local.jpg"}
    assert {image["file_name"] for image in data_set["images"]} == names


def test_a_second_run_does_nothing(command: list[str], bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    before = bucket.keys("masks/")
    assert main(command) == 1
    assert "0 done, 6 skipped (done before), 0 failed" in capsys.readouterr().out
    assert bucket.keys("masks/") == before


LOCKED = StoreDestination("s3://photos/locked")


@contextmanager
def locked_by(bucket: Bucket, **owner: Any) -> Iterator[None]:
    key = "locked/.bulk.lock/another"
    bucket.write(key, json.dumps({"since": "2026-01-01T00:00:00+00:00", **owner}).encode())
    try:
        yield
    finally:
        bucket.client.delete_object(Bucket="photos", Key=key)


def test_another_run_at_the_same_bucket_is_refused(bucket: Bucket) -> None:
    process = psutil.Process()
    owner = {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}
    by_this_process = f"another run is writing there: process {process.pid} on {socket.gethostname()}"
    with locked_by(bucket, **owner), pytest.raises(BulkError, match=by_this_process), LOCKED.locked():
        pass
    by_another = "another run is writing there: process 1 on elsewhere"
    with locked_by(bucket, host="elsewhere", pid=1, started=0), pytest.raises(BulkError, match=by_another), LOCKED.locked():
        pass
    assert bucket.keys("locked/") == set()


def test_the_lock_of_a_dead_run_is_removed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of this machine with another start time: its id was reused.
    with locked_by(bucket, host=socket.gethostname(), pid=os.getpid(), started=0), LOCKED.locked():
        assert len(bucket.keys("locked/.bulk.lock/") - {"another"}) == 1
        assert "another" not in bucket.keys("locked/.bulk.lock/")
    monkeypatch.setattr(destinations, "_LEASE_S", -1)
    with locked_by(bucket, host="elsewhere", pid=1, started=0), LOCKED.locked():
        assert "another" not in bucket.keys("locked/.bulk.lock/")
    assert bucket.keys("locked/") == set()


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("source", ["s3://photos/nope", "s3://photos/in/one", "s3://no-such-bucket/in", "s3://no-such-bucket"])
def test_a_missing_source_is_refused(source: str) -> None:
    expected = f"^{source}: no such object, prefix or bucket; give an image, a prefix that has images below it"
    with pytest.raises(BulkError, match=expected):
        find_sources([source], "out", ListColumns())


@pytest.mark.usefixtures("bucket")
def test_a_pattern_in_a_missing_bucket_is_refused() -> None:
    (source,) = find_sources(["s3://no-such-bucket/**/*.jpg"], "out", ListColumns())
    with pytest.raises(BulkError, match=r"^s3://no-such-bucket: no such object, prefix or bucket$"):
        next(source.entries())


@pytest.mark.usefixtures("bucket")
def test_a_prefix_without_images_is_refused_with_the_accepted_suffixes() -> None:
    (source,) = find_sources(["s3://photos/in/**/*.webp"], "out", ListColumns())
    with pytest.raises(BulkError, match=r"^s3://photos/in/\*\*/\*\.webp: holds no images; these end in .*\.jpg"):
        next(source.entries())


@pytest.mark.usefixtures("bucket")
def test_a_destination_without_an_existing_bucket_is_refused() -> None:
    with pytest.raises(BulkError, match=r"^--out s3://: names no bucket; give a URL such as s3://bucket/masks$"):
        make_destination("s3://")
    destination = make_destination("s3://no-such-bucket/masks")
    with pytest.raises(BulkError, match=r"^s3://no-such-bucket/masks: no such bucket$"), destination.locked():
        pass


def test_a_missing_url_is_reported_with_the_servers_reason(web: str) -> None:
    with pytest.raises(ReadError, match=r"nope\.jpg: cannot be read: the server answers 404 File not found"):
        storage.read_file(f"{web}/nope.jpg", 1000)


class Rasters:
    """A raster in the bucket, and its outputs as written without a bucket."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        path = Path(write_raster(folder / "town.tif", colours(350, 370)))
        bucket.write("rasters/town.tif", path.read_bytes())
        self.source = "s3://photos/rasters/town.tif"
        with SMALL_BLOCKS:
            self.uninterrupted = segment(self.job(folder / "town", str(path)))
        self.expected = {path.name: path.read_bytes() for path in folder.glob("town.*.tif*")}

    def job(self, out: Path, source: str | None = None) -> RasterJob:
        return RasterJob(source or self.source, out, ("labels", "confidence"), window_options=WindowOptions(64, 16))

    def segment(self, prefix: str, max_blocks: int | None = None) -> RasterReport:
        """Segment the raster into a prefix of the bucket and stop after `max_blocks` blocks."""
        outputs = make_outputs(f"s3://photos/{prefix}", self.folder / prefix)
        with SMALL_BLOCKS:
            return outputs.segment(self.job(outputs.folder / "town"), card(), prepare(), InProcessExecutor(max_blocks))

    def outputs(self, prefix: str) -> dict[str, bytes]:
        """Return the bucket's objects except the record."""
        return {key: self.bucket.read(f"{prefix}/{key}") for key in self.bucket.keys(f"{prefix}/") - {"town.json"}}


@pytest.fixture(scope="module")
def rasters(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Rasters:
    return Rasters(bucket, tmp_path_factory.mktemp("rasters"))


def test_gdal_reads_a_raster_in_a_bucket_as_on_disk(rasters: Rasters, tmp_path: Path) -> None:
    with SMALL_BLOCKS:
        segment(rasters.job(tmp_path / "town"))

    assert {path.name: path.read_bytes() for path in tmp_path.glob("town.*.tif*")} == rasters.expected


def test_an_interrupted_raster_in_a_bucket_is_resumed(rasters: Rasters) -> None:
    with pytest.raises(KeyboardInterrupt):
        rasters.segment("continued", max_blocks=2)
    resumed = rasters.segment("continued")
    repeated = rasters.segment("continued", max_blocks=0)

    assert (resumed.reused, resumed.computed) == (2, rasters.uninterrupted.computed - 2)
    assert repeated.done_before
    assert repeated.pixels == resumed.pixels
    assert rasters.outputs("continued") == rasters.expected
    assert [path for path in (rasters.folder / "continued").rglob("*") if path.is_file()] == []


def test_a_failed_upload_is_repeated_without_computing_again(rasters: Rasters, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_from(_: StoreDestination, name: str, path: Path) -> None:
        if name.endswith(".confidence.tif"):
            raise BulkError("the bucket is full")
        rasters.bucket.write(f"failed/{name}", path.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(StoreDestination, "write_from", write_from)
        with pytest.raises(BulkError, match="full"):
            rasters.segment("failed")
    assert "town.json" not in rasters.bucket.keys("failed/")

    rasters.segment("failed", max_blocks=0)

    assert rasters.outputs("failed") == rasters.expected


def test_other_options_replace_the_outputs_of_a_raster_in_a_bucket(rasters: Rasters) -> None:
    rasters.segment("replaced")
    outputs = make_outputs("s3://photos/replaced", rasters.folder / "replaced")
    job = RasterJob(rasters.source, outputs.folder / "town", ("labels",))

    report = outputs.segment(job, card(), prepare(), InProcessExecutor())

    assert not report.done_before
    assert [outputs.location_of(path) for path in report.outputs] == ["s3://photos/replaced/town.labels.tif"]


@pytest.mark.usefixtures("bucket")
def test_the_work_folder_for_a_bucket_is_in_the_users_cache_by_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    first, same, different = (make_outputs(f"s3://photos/{prefix}", None).folder for prefix in ("a", "a/", "b"))

    assert first == same != different
    assert first.is_relative_to(tmp_path)
    with pytest.raises(UsageError, match="--work x: applies only to --out with a URL"):
        make_outputs("masks", Path("x"))
    with pytest.raises(UsageError, match="give a folder, or a URL such as s3://bucket/masks"):
        make_outputs("/vsis3/photos/masks", None)


@pytest.mark.exhaustive
def test_the_program_reads_rasters_from_a_bucket_and_writes_into_it(
    rasters: Rasters, small_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--raster", rasters.source, "--archive", str(small_archive), "--out", "s3://photos/program", "--jobs", "1"]

    codes = [main([*command, "--work", str(rasters.folder / "program")]) for _ in range(2)]

    printed = capsys.readouterr().out
    assert codes == [0, 0]
    assert "  s3://photos/program/town.labels.tif" in printed
    assert f"{rasters.source}: done before" in printed
    assert rasters.bucket.keys("program/") == {"town.labels.tif", "town.labels.tif.aux.xml", "town.json"}
