"""A stand-in for CVAT's server: the few routes with which the SDK reads one task of images and writes its annotations."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from tests.local_server import running

TASK_ID = 7
_TIME = "2026-01-01T00:00:00Z"


@dataclass
class CvatTask:
    """A task, and the annotations that clients have written to it."""

    #: File contents by name, in the order of frames.
    images: Mapping[str, bytes]
    #: As in CVAT's raw label editor, with this task's ids.
    labels: Sequence[Mapping[str, Any]]
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, path: str, query: Mapping[str, list[str]]) -> Any:
        """Return the JSON of a GET, or the bytes of a chunk."""
        match path.strip("/").removeprefix("api/").split("/"):
            case ["server", "about"]:
                return {"name": "CVAT", "description": "", "version": "2.79.0", "logo_url": "", "subtitle": ""}
            case ["users", "self"]:
                return {"id": 1, "username": "tester", "url": "http://127.0.0.1/api/users/1"}
            case ["labels"]:
                return {"count": len(self.labels), "next": None, "previous": None, "results": self.labels}
            case ["tasks", _]:
                return self._task()
            case ["tasks", _, "data", "meta"]:
                return self._meta()
            case ["tasks", _, "data"] if query["type"] == ["chunk"]:
                return self._chunk()
        raise LookupError(path)

    def _task(self) -> dict[str, Any]:
        return {
            "id": TASK_ID,
            "name": "task",
            "size": len(self.images),
            "data_chunk_size": len(self.images),
            "data_original_chunk_type": "imageset",
            "data_compressed_chunk_type": "imageset",
            "created_date": _TIME,
            "updated_date": _TIME,
            "dimension": "2d",
            "jobs": {"count": 1, "completed": 0, "validation": 0, "url": "http://127.0.0.1/api/jobs"},
            "labels": {"url": "http://127.0.0.1/api/labels"},
            "organization": None,
        }

    def _meta(self) -> dict[str, Any]:
        sizes = {name: Image.open(io.BytesIO(data)).size for name, data in self.images.items()}
        frames = [
            {"name": name, "width": width, "height": height, "related_files": 0} for name, (width, height) in sizes.items()
        ]
        last = len(frames) - 1
        return {
            "chunk_size": len(frames),
            "size": len(frames),
            "image_quality": 100,
            "start_frame": 0,
            "stop_frame": last,
            "frame_filter": "",
            "frames": frames,
            "deleted_frames": [],
            "chunks_updated_date": _TIME,
        }

    def _chunk(self) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as chunk:
            for name, data in self.images.items():
                chunk.writestr(name, data)
        return file.getvalue()


@contextmanager
def cvat_server(task: CvatTask) -> Iterator[int]:
    """Serve `task` on a port of 127.0.0.1, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            try:
                reply = task.reply(url.path, parse_qs(url.query))
            except LookupError:
                self._send(404, b"{}")
                return
            self._send(200, reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        def do_PATCH(self) -> None:
            task.annotations.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(200, json.dumps({"version": 1, "tags": [], "shapes": [], "tracks": []}).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port
