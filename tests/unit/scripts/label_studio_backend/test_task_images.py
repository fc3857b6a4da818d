import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.label_studio_backend.errors import TaskError
from scripts.label_studio_backend.task_images import ImageSources, TaskImages
from tests import local_server

FILE = b"an image" * 100


class FileHost:
    """A file server that records each path and its `Authorization`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        #: Status, body and headers by path; other paths are 404.
        self.replies: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.url = ""

    def serve(self, path: str, body: bytes = FILE, status: int = 200, **headers: str) -> None:
        self.replies[path] = status, body, headers


@contextmanager
def file_host() -> Iterator[FileHost]:
    host = FileHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.requests.append((self.path, self.headers["Authorization"]))
            status, body, headers = host.replies.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with local_server.running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        host.url = f"http://127.0.0.1:{server.server_port}"
        yield host


@pytest.fixture
def label_studio() -> Iterator[FileHost]:
    with file_host() as host:
        yield host


@pytest.fixture
def other_host() -> Iterator[FileHost]:
    """Return the address of another host: this machine under another name."""
    with file_host() as host:
        host.url = host.url.replace("127.0.0.1", "localhost")
        yield host


Images = Callable[..., TaskImages]


@pytest.fixture
def images(label_studio: FileHost) -> Images:
    def build(token: str = "legacy", **sources: Any) -> TaskImages:  # noqa: S107
        return TaskImages(ImageSources(**{"label_studio_url": label_studio.url, **sources}), token)

    return build


def token(**claims: Any) -> str:
    """Return a JSON Web Token as issued by Label Studio; its signature is not checked here."""
    parts = ({"alg": "HS256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmVk"])


@pytest.mark.parametrize(
    "reference", ["/data/upload/3/a%20b.jpg", "upload/3/a%20b.jpg", "/upload/3/a%20b.jpg", "{url}/data/upload/3/a%20b.jpg"]
)
def test_an_upload_comes_from_label_studio_with_the_token(images: Images, label_studio: FileHost, reference: str) -> None:
    label_studio.serve("/data/upload/3/a%20b.jpg")

    assert images().fetch(reference.format(url=label_studio.url)) == FILE

    assert label_studio.requests == [("/data/upload/3/a%20b.jpg", "Token legacy")]


def test_an_upload_in_cloud_storage_is_fetched_through_label_studio(images: Images, label_studio: FileHost) -> None:
    label_studio.serve("/storage-data/uploaded/?filepath=upload/3/a%20b.jpg")

    assert images().fetch("/data/upload/3/a%20b.jpg") == FILE


def test_a_storages_uri_is_resolved_by_label_studio(images: Images, label_studio: FileHost, other_host: FileHost) -> None:
    label_studio.serve(
        "/tasks/5/presign/?fileuri=s3%3A%2F%2Fbucket%2Fa.jpg", status=303, Location=f"{other_host.url}/a.jpg?key=1"
    )
    other_host.serve("/a.jpg?key=1")

    assert images(allowed_hosts=["local*"]).fetch("s3://bucket/a.jpg", 5) == FILE

    assert [authorization for _, authorization in label_studio.requests] == ["Token legacy"]
    assert other_host.requests == [("/a.jpg?key=1", None)]


def test_a_personal_access_token_is_exchanged_once_for_all_images(images: Images, label_studio: FileHost) -> None:
    access = token(token_type="access", exp=time.time() + 300)  # noqa: S106
    label_studio.serve("/api/token/refresh/", json.dumps({"access": access}).encode())
    label_studio.serve("/data/upload/1/a.jpg")
    task_images = images(token(token_type="refresh", exp=time.time() + 1e6))  # noqa: S106

    assert [task_images.fetch("/data/upload/1/a.jpg") for _ in range(2)] == [FILE, FILE]

    assert label_studio.requests == [("/api/token/refresh/", None), *[("/data/upload/1/a.jpg", f"Bearer {access}")] * 2]


def test_a_rejected_personal_access_token_is_reported_without_its_value(images: Images, label_studio: FileHost) -> None:
    label_studio.serve("/api/token/refresh/", b'{"detail":"no"}', status=401)
    secret = token(token_type="refresh", exp=time.time() + 1e6)  # noqa: S106

    with pytest.raises(TaskError, match="does not accept the personal access token in LABEL_STUDIO_API_KEY") as caught:
        images(secret).fetch("/data/upload/1/a.jpg")
    assert secret not in str(caught.value)


def test_only_allowed_hosts_are_contacted(images: Images, other_host: FileHost) -> None:
    other_host.serve("/a.jpg?signature=secret")

    with pytest.raises(TaskError, match=r"/a\.jpg: images may not come from 'localhost'; allow it with --allow-host localhost"):
        images().fetch(f"{other_host.url}/a.jpg?signature=secret")
    assert other_host.requests == []
    assert images(allowed_hosts=["LocalHost"]).fetch(f"{other_host.url}/a.jpg?signature=secret") == FILE
    assert other_host.requests == [("/a.jpg?signature=secret", None)]


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused(
    images: Images, label_studio: FileHost, other_host: FileHost
) -> None:
    label_studio.serve("/data/a.jpg", status=302, Location=f"{other_host.url}/a.jpg")
    label_studio.serve("/data/b.jpg", status=302, Location="file:///etc/passwd")
    label_studio.serve("/data/c.jpg", status=302, Location="/data/c.jpg")

    for name, reason in (("a", "may not come from 'localhost'"), ("b", "is not an http URL"), ("c", "more than 5 redirects")):
        with pytest.raises(TaskError, match=reason):
            images().fetch(f"/data/{name}.jpg")
    assert other_host.requests == []


@pytest.mark.parametrize(
    "reference", ["{url}/api/users", "{url}/data/../api/users", "{url}/data/%2e%2e/api/users", "/data/..%5C/api"]
)
def test_the_token_is_sent_only_for_files(images: Images, label_studio: FileHost, reference: str) -> None:
    with pytest.raises(TaskError):
        images().fetch(reference.format(url=label_studio.url))

    assert [authorization for _, authorization in label_studio.requests if authorization] == []


@pytest.mark.parametrize(
    "reference", ["/api/users", "photo.jpg", "/etc/passwd", "../a.jpg", "", "http://", "http://[", "http://a:b/"]
)
def test_a_reference_that_is_not_a_url_is_refused(images: Images, label_studio: FileHost, reference: str) -> None:
    with pytest.raises(TaskError, match=r"is not (a|an http) URL"):
        images().fetch(reference)
    assert label_studio.requests == []


def test_paths_of_label_studio_need_its_address(images: Images) -> None:
    with pytest.raises(
        TaskError, match=r"/data/upload/1/a\.jpg: is a path of Label Studio; give its address with --label-studio-url"
    ):
        images(label_studio_url="").fetch("/data/upload/1/a.jpg")


def test_data_uris_are_decoded(images: Images) -> None:
    assert images().fetch("data:image/png;base64," + base64.b64encode(FILE).decode()) == FILE
    for uri in ("data:image/png,abc", "data:image/png;base64,a", "data:image/png;base64,%%%"):
        with pytest.raises(TaskError, match="base64"):
            images().fetch(uri)


def test_files_are_read_only_below_their_folder(images: Images, label_studio: FileHost, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a b.jpg").write_bytes(FILE)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    task_images = images(local_files=root)

    assert task_images.fetch("/data/local-files/?d=deep/a%20b.jpg") == FILE
    assert task_images.fetch(f"file://{root}/deep/a%20b.jpg") == FILE
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "deep", "", "missing.jpg", "%00"):
        with pytest.raises(TaskError, match=f"is not a file below {root}"):
            task_images.fetch(f"/data/local-files/?d={path}")
    with pytest.raises(TaskError, match="is not a file below"):
        task_images.fetch(f"file://{tmp_path}/secret.jpg")
    with pytest.raises(TaskError, match="local files are only read below --local-files"):
        images().fetch(f"file://{root}/deep/a%20b.jpg")
    assert label_studio.requests == []


def test_local_files_come_from_label_studio_without_a_folder(images: Images, label_studio: FileHost) -> None:
    label_studio.serve("/data/local-files/?d=a.jpg")

    assert images().fetch("/data/local-files/?d=a.jpg") == FILE


def test_an_image_that_is_too_large_is_refused(images: Images, label_studio: FileHost, tmp_path: Path) -> None:
    label_studio.serve("/data/a.jpg")
    (tmp_path / "a.jpg").write_bytes(FILE)
    uri = "data:image/png;base64," + base64.b64encode(FILE).decode()

    for reference in ("/data/a.jpg", uri, "/data/local-files/?d=a.jpg"):
        with pytest.raises(TaskError, match=r"more than 799 bytes; raise --max-bytes"):
            images(max_bytes=799, local_files=tmp_path).fetch(reference)
        assert images(max_bytes=800, local_files=tmp_path).fetch(reference) == FILE


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "answered 404$"), (403, r"answered 403; is LABEL_STUDIO_API_KEY right\?$")]
)
def test_a_failed_request_is_reported_with_its_status(images: Images, label_studio: FileHost, status: int, reason: str) -> None:
    label_studio.serve("/data/a.jpg", status=status)

    with pytest.raises(TaskError, match=reason):
        images().fetch("/data/a.jpg")
