"""Connections with what uvicorn lacks: a limit on their number, and timeouts for headers and slow readers."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handler.errors import SegmentationError
from handler.servers.asgi.errors import MalformedRequest, RequestTimeout, Unavailable, error_body
from handler.servers.asgi.guard import SECURITY_HEADERS

#: A slow reader is checked this often, and disconnected unless it has read this much since the last check.
_READ_INTERVAL_S, _MIN_BYTES_READ = 30.0, 100_000
#: On shutdown an idle connection stays open for this long, since a request may be on its way.
LAST_REQUEST_TIMEOUT_S = 0.5


class LimitedConnection(HttpToolsProtocol):
    """One connection from a client."""

    max_connections: ClassVar[int]
    header_timeout: ClassVar[float]
    #: Called for each connection that is closed without a request.
    on_refusal: ClassVar[Callable[[SegmentationError], None]]

    _header_timer: asyncio.TimerHandle | None = None
    _reader_timer: asyncio.TimerHandle | None = None
    _is_draining = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            message = f"{self.max_connections:,} connections are open, which is the limit; try again in 1 s"
            self._refuse(Unavailable(message, reason="connections"))
            return
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_watching_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._header_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_header_timer()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._stop_header_timer()
        if not self.url.startswith((b"/", b"*")):  # An absolute URL; the ASGI scope keeps only its path.
            self.scope["state"]["target"] = self.url.decode("latin-1")
        super().on_headers_complete()
        # The parser reports trailers as headers too, which would smuggle in headers that a proxy strips or checks.
        self.headers = []
        if self._is_draining:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_draining and not self.pipeline:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        del msg
        self._stop_header_timer()
        self._refuse(MalformedRequest("the request is not HTTP/1.1"))

    def shutdown(self) -> None:
        """Finish the current request when the server shuts down."""
        self._is_draining = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self.cycle is not None or self._header_timer is not None:
            self.loop.call_later(LAST_REQUEST_TIMEOUT_S, self._close_if_idle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching_reader()

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(self.header_timeout, self._time_out_headers)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _time_out_headers(self) -> None:
        self._refuse(RequestTimeout(f"the headers were not complete within {self.header_timeout:g} s"))

    def _refuse(self, error: SegmentationError) -> None:
        """Send an error without waiting for a request, and close the connection."""
        if self.transport.is_closing():
            return
        body = error_body(error)
        retry = [f"retry-after: {error.retry_after}"] if isinstance(error, Unavailable) else []
        head = [f"HTTP/1.1 {error.status} {error.phrase}", "content-type: application/json", f"content-length: {len(body)}"]
        security_headers = [f"{name.lower()}: {value}" for name, value in SECURITY_HEADERS.items()]
        self.transport.write("\r\n".join([*head, *retry, *security_headers, "connection: close", "", ""]).encode() + body)
        self.transport.close()
        type(self).on_refusal(error)

    def _watch_reader(self) -> None:
        self._stop_watching_reader()
        unread = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(_READ_INTERVAL_S, self._check_reader, unread)

    def _check_reader(self, unread: int) -> None:
        if unread - self.transport.get_write_buffer_size() < _MIN_BYTES_READ:
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_watching_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def connection_type(
    max_connections: int, header_timeout: float, on_refusal: Callable[[SegmentationError], None]
) -> type[LimitedConnection]:
    """Return a connection class with these limits; uvicorn is configured with a class."""
    limits = {"max_connections": max_connections, "header_timeout": header_timeout, "on_refusal": staticmethod(on_refusal)}
    return type("Connection", (LimitedConnection,), limits)
