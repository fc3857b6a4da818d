"""Sources and destinations without a store: file URLs, lists, unknown schemes, and the errors for wrong ones."""

import re
import socket
from pathlib import Path

import pytest
import requests

pytest.importorskip("fsspec", reason="the extra 'bulk' is not installed")

from scripts.bulk import storage
from scripts.bulk.destinations import make_destination
from scripts.bulk.errors import BulkError, ReadError
from scripts.bulk.lists import ListColumns
from scripts.bulk.sources import find_sources
from scripts.errors import UsageError
from scripts.rasters.outputs import make_outputs
from tests.unit.scripts.bulk.support import photograph

pytestmark = pytest.mark.slow


def test_an_unreachable_server_is_reported_in_one_clause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused_socket:
        url = f"http://127.0.0.1:{unused_socket.getsockname()[1]}/a.jpg"
    with pytest.raises(ReadError) as caught, storage.reading(url):
        requests.get(url, timeout=1)
    assert str(caught.value) == f"{url}: cannot be read: Failed to establish a new connection: [Errno 111] Connection refused"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://host/a.jpg", "ftp:// needs more than a URL: missing a required argument: 'host'"),
        ("nonsense://host/a.jpg", "unknown scheme 'nonsense'"),
    ],
)
def test_an_unsupported_scheme_is_refused_with_the_supported_ones(url: str, expected: str) -> None:
    with pytest.raises(BulkError, match=rf"^{url}: {re.escape(expected)}.*a path, s3://, gs://, http:// or https:// is read$"):
        find_sources([url], "out", ListColumns())


def test_urls_of_files_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    (tmp_path / "list.txt").write_text(f"file://{tmp_path}/a.jpg\n")
    for url in (f"file://{tmp_path}/a.jpg", f"file://{tmp_path}/list.txt", f"file://{tmp_path}"):
        (source,) = find_sources([url], "out", ListColumns())
        assert [entry.path for entry in source.entries()] == [f"{tmp_path}/a.jpg"]
    assert str(make_destination(f"file://{tmp_path}/masks")) == f"{tmp_path}/masks"
    assert make_outputs(f"file://{tmp_path}/masks", None).folder == tmp_path / "masks"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.txt", "# nothing\n\n", "the list names no images"),
        ("list.csv", "path\n", "the list names no images"),
        ("list.csv", "id;photo\n1;a.jpg\n", "which column holds the images? It has id, photo; choose with --list-column"),
    ],
)
def test_a_list_without_images_is_refused(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    (source,) = find_sources([str(tmp_path / name)], "out", ListColumns())
    with pytest.raises(BulkError, match=rf"^{tmp_path / name}: {re.escape(expected)}"):
        list(source.entries())


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_destination_that_is_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BulkError, match=rf"^--out {tmp_path / name}: it or a part of its path is a file; give a folder$"):
        make_destination(str(tmp_path / name)).locked().__enter__()
    with pytest.raises(UsageError, match=rf"^--out {tmp_path / name}: {tmp_path}/file is a file; give a folder$"):
        make_outputs(str(tmp_path / name), None)


def test_a_machine_that_does_not_share_the_runs_folder_is_refused(tmp_path: Path) -> None:
    destination = make_destination(str(tmp_path / "masks"))
    with destination.locked():
        destination.require_shared()
        elsewhere = make_destination(str(tmp_path / "elsewhere"))
        with pytest.raises(
            BulkError, match=rf"^--out {tmp_path}/elsewhere: .* sees no run in this folder; .*s3://bucket/masks$"
        ):
            elsewhere.require_shared()
