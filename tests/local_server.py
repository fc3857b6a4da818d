"""A scripted HTTP server, for failures that are rare on a real one."""

import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, TypeVar

S = TypeVar("S", bound=HTTPServer)


@dataclass(frozen=True)
class PostedForm:
    """A posted form."""

    path: str
    image: bytes
    options: dict[str, str]
    headers: Message
    #: 1 for the first form with this image, 2 for the second, and so on.
    attempt: int


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"answer"
    content_type: str = "image/png"
    headers: dict[str, str] = field(default_factory=dict)
    #: Hang up after this many bytes of the body.
    cut: int | None = None
    #: Reset the connection instead of answering.
    reset: bool = False


def content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


class LocalServer(ThreadingHTTPServer):
    """Answers every form with `reply(form)` and records the forms."""

    daemon_threads = True

    def __init__(self, reply: Callable[[PostedForm], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.forms: list[PostedForm] = []
        self.lock = Lock()
        self._attempts: Counter[bytes] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/predictions/deeplabv3"

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # Clients may disconnect.
            super().handle_error(request, client_address)

    def receive_form(self, handler: "_Handler") -> PostedForm:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        head = f"Content-Type: {handler.headers['Content-Type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + body)
        assert isinstance(message, EmailMessage)
        parts = {part.get_param("name", header="Content-Disposition"): content(part) for part in message.iter_parts()}
        image = parts.pop("data")
        options = {str(name): value.decode() for name, value in parts.items()}
        with self.lock:
            self._attempts[image] += 1
            form = PostedForm(handler.path, image, options, handler.headers, self._attempts[image])
            self.forms.append(form)
        return form


class _Handler(BaseHTTPRequestHandler):
    server: LocalServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(Reply(body=b"{}", content_type="application/json"))

    def do_POST(self) -> None:
        reply = self.server.reply(self.server.receive_form(self))
        if reply.reset:
            # With a linger time of 0, closing sends RST; the socket closes after its files.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for stream in (self.rfile, self.wfile, self.connection):
                stream.close()
            self.close_connection = True
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Type": reply.content_type, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut])
        self.close_connection = reply.cut is not None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run `server` in a thread for the block."""
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def local_server(reply: Callable[[PostedForm], Reply]) -> Iterator[LocalServer]:
    with running(LocalServer(reply)) as server:
        yield server
