"""Give requests that Ray Serve's proxy refuses, or loses with a replica, the status and body of the service's own errors.

The nodes set `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` to `CALLBACK`, which Ray Serve's proxy calls when it starts.
"""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.errors import InternalError, SegmentationError
from handler.servers.asgi.errors import (
    DeadlineExceeded,
    ModelNotReady,
    PathNotFound,
    QueueFull,
    Unavailable,
    error_body,
)

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
CALLBACK = "scripts.ray_serve.proxy_errors:middlewares"
#: Ray Serve's own paths, for probes.
_OWN_PATHS = "/-/"


def middlewares() -> list[Middleware]:
    """Return the middleware that Ray Serve's proxy wraps around its application."""
    return [Middleware(ProxyErrors)]


class ProxyErrors:
    """ASGI middleware around the proxy. A replica's errors, in JSON, pass; the proxy's are plain text or empty."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OWN_PATHS):
            await self._app(scope, receive, send)
            return
        reply = _Reply(send)
        await self._app(scope, receive, reply.send)
        await reply.end()


class _Reply:
    """One answer passing through the proxy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_started = False
        self._is_replaced = False

    async def send(self, message: Message) -> None:
        """Forward a message of the answer, or send an error in its place."""
        if message["type"] != "http.response.start":
            if not self._is_replaced:
                await self._send(message)
            return
        headers = MutableHeaders(raw=list(message["headers"]))
        if request_ids := headers.getlist("x-request-id"):  # The proxy adds a second, identical one to the replica's.
            headers["x-request-id"] = request_ids[0]
        self._has_started = True
        if error := proxy_error(message["status"], headers):
            self._is_replaced = True
            await self._answer(error, headers)
        else:
            await self._send({**message, "headers": headers.raw})

    async def end(self) -> None:
        """Answer a request that got no reply because its replica ended."""
        if not self._has_started:
            await self._answer(Unavailable("the replica that held this request has ended; send the request again"))

    async def _answer(self, error: SegmentationError, headers: MutableHeaders | None = None) -> None:
        body, headers = error_body(error), headers if headers is not None else MutableHeaders()
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        if isinstance(error, Unavailable):
            headers["retry-after"] = str(error.retry_after)
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def proxy_error(status: int, headers: MutableHeaders) -> SegmentationError | None:
    """Return the service's error for an error of the proxy itself, or None if a replica has answered."""
    if status < 400 or not headers.get("content-type", "").startswith("text/plain"):
        return None
    if status == 503 and "retry-after" in headers:
        retry_after = int(headers["retry-after"])
        return QueueFull(f"the queue is full; try again in {retry_after} s", retry_after)
    if status == 503:
        return ModelNotReady("no replica can take requests now")
    if status == 408:
        return DeadlineExceeded("there was no answer within the proxy's time limit (request_timeout_s)")
    if status == 404:
        return PathNotFound("no application is served at this path")
    return InternalError("Ray Serve's proxy failed; its log says why")
