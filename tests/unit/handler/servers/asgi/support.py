"""An archive whose model is a small program, and the real server serving it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.support import ROOT

TIMEOUT_S = 30
#: The parts of the handler that the small program needs.
_MODULES = ["__init__", "drift", "errors", "observation", "profile", "wording", "servers/__init__"]
_MODULES += [f"servers/asgi/{name}" for name in ("__init__", "frames", "messages")]
_MODULES += [f"servers/asgi/open_inference/{name}" for name in ("__init__", "messages")]
_FILES = [*(f"{module}.py" for module in _MODULES), "servers/asgi/open_inference/messages.binpb"]


def write_fake_archive(folder: Path) -> Path:
    """Lay out `folder` like an extracted archive with `fake_worker.py` instead of the worker."""
    asgi = folder / "handler" / "servers" / "asgi"
    (asgi / "open_inference").mkdir(parents=True)
    for file in _FILES:
        shutil.copyfile(ROOT / "handler" / file, folder / "handler" / file)
    shutil.copyfile(Path(__file__).with_name("fake_worker.py"), asgi / "worker.py")
    return folder


@dataclass(frozen=True)
class FakeServer:
    """The real front process with fake workers."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    #: Standard error and standard output: events and requests.
    events_file: Path
    requests_file: Path

    scheme: str = "http"

    @property
    def grpc_address(self) -> str:
        """Return the address for gRPC; the server must have been started with `--grpc-port`."""
        (listening_event,) = self.events("listening")
        return str(listening_event["grpc"])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def ask(self, body: str | bytes, **arguments: object) -> requests.Response:
        """POST a command to the fake worker (`fake_worker.py` lists them)."""
        return requests.post(f"{self.url}/predictions/fake", body, timeout=TIMEOUT_S, **arguments)  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def events(self, name: str) -> list[dict[str, object]]:
        """Return the events of this name in the log."""
        lines = [json.loads(line) for line in self.events_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def request_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.requests_file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def request_line(self, response: requests.Response) -> dict[str, object]:
        """Wait for the log line of a request, which is written after the answer."""

        def lines() -> list[dict[str, object]]:
            return [line for line in self.request_lines() if line["id"] == response.headers["x-request-id"]]

        until(lines)
        return lines()[-1]

    def commands(self) -> list[str]:
        """Return the commands that workers have started, in order."""
        file = self.folder / "commands"
        return file.read_text().splitlines() if file.exists() else []

    def queue_length(self) -> int:
        """Return how many requests are waiting for a worker."""
        (model,) = requests.get(f"{self.url}/models/fake", timeout=TIMEOUT_S).json()
        count: int = model["jobQueueStatus"]["pendingRequests"]
        return count

    def is_ready(self) -> bool:
        return requests.get(f"{self.url}/v2/health/ready", timeout=TIMEOUT_S).ok


def until(condition: Callable[[], object], timeout: float = TIMEOUT_S) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


@contextmanager
def fake_server(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[FakeServer]:
    """Serve a fake archive with these options of the command line, on a free port."""
    archive = write_fake_archive(folder / "archive")
    events_file, requests_file = folder / "events", folder / "requests"
    command = [sys.executable, "-m", "handler.servers.asgi", "--model", f"fake={archive}", "--port", "0", *options]
    with events_file.open("wb") as stderr, requests_file.open("wb") as stdout:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=stderr, env=environment)
    try:
        until(lambda: "listening" in events_file.read_text() or process.poll() is not None)
        listening_event = json.loads(next(line for line in events_file.read_text().splitlines() if "listening" in line))
        scheme, _, address = listening_event["address"].partition("://")
        yield FakeServer(process, int(address.rpartition(":")[2]), archive, events_file, requests_file, scheme)
    finally:
        process.kill()
        process.wait(TIMEOUT_S)


def read_error(response: requests.Response) -> tuple[int, str]:
    """Return code and type from the body of an error, after a check that it is complete."""
    body = response.json()
    assert set(body) == {"error", "code", "type", "message"}
    assert (body["error"], body["code"]) == (body["message"], response.status_code)
    return body["code"], body["type"]


def receive_all(connection: socket.socket) -> bytes:
    """Return everything received until the server closes the connection."""
    pieces = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)
