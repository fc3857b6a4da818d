"""Read a request's body within limits of size, time and memory."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from starlette.types import Message, Receive

from handler.servers.asgi.errors import BodyTooLarge, QueueFull, RequestTimeout
from handler.servers.asgi.request_queue import ClientGone

#: A lower average over a whole body is an attack rather than a slow line.
_MIN_BYTES_PER_S = 16_384
#: A refused body is still read for a moment: a client that is still sending takes a closed connection for a network failure.
_DISCARD_TIMEOUT_S, _MAX_DISCARDED_BYTES = 2.0, 1 << 28


class BodyBudget:
    """The budget of bytes for the request bodies that the server holds, over all requests."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held_bytes = 0

    @property
    def bytes(self) -> int:
        return self._held_bytes

    @contextmanager
    def hold(self) -> Iterator["BodyShare"]:
        """Yield a share that grows with a body and is released after the block."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._held_bytes -= share.bytes

    def take(self, count: int, share: "BodyShare") -> None:
        """Grow a share.

        Raises:
            QueueFull: the shares together would exceed the budget; a lone share may exceed it.
        """
        if self._held_bytes > share.bytes and self._held_bytes + count > self._max_bytes:
            sizes = f"the requests being held have {self._held_bytes:,} bytes, the limit is {self._max_bytes:,}"
            raise QueueFull(f"{sizes}; try again in 1 s", reason="held_bytes")
        self._held_bytes += count
        share.bytes += count


class BodyShare:
    """The part of `BodyBudget` that one body takes."""

    def __init__(self, budget: BodyBudget) -> None:
        self.bytes = 0
        self._budget = budget

    def grow_to(self, size: int) -> None:
        """Grow to `size` bytes, unless the share has them already.

        Raises:
            QueueFull: the server has no room for them.
        """
        if size > self.bytes:
            self._budget.take(size - self.bytes, self)


async def read_body(
    receive: Receive, headers: Mapping[str, str], max_bytes: int, max_pause: float, share: BodyShare
) -> bytearray:
    """Return the whole body.

    Args:
        receive: ASGI's `receive`.
        headers: the request's headers, names in lower case.
        max_bytes: the largest body allowed, in bytes.
        max_pause: the longest pause allowed, in seconds. After this many seconds the average must also exceed 16 KiB/s.
        share: counts the bytes of this body.

    Raises:
        BodyTooLarge: the body is larger than `max_bytes`, or declares that it is.
        RequestTimeout: the body arrives too slowly.
        QueueFull: the server already holds too many bytes.
        ClientGone: the client has hung up.
    """
    content_length = headers.get("content-length", "")
    if content_length.isdigit() and int(content_length) > max_bytes:
        raise BodyTooLarge(f"the body has {int(content_length):,} bytes, the limit is {max_bytes:,}")
    body, start = bytearray(), time.monotonic()
    share.grow_to(int(content_length) if content_length.isdigit() else 0)
    while True:
        deadline = start + max_pause + len(body) / _MIN_BYTES_PER_S
        try:
            message = await _receive_within(receive, min(max_pause, deadline - time.monotonic()))
        except TimeoutError as error:
            seconds = time.monotonic() - start
            raise RequestTimeout(f"the body arrived too slowly: {len(body):,} bytes in {seconds:.0f} s") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLarge(f"the body has more bytes than the limit, {max_bytes:,}")
        share.grow_to(len(body))
        if not message.get("more_body"):
            return body


async def _receive_within(receive: Receive, seconds: float) -> Message:
    async with asyncio.timeout(max(0.0, seconds)):
        return await receive()


async def discard_body(receive: Receive) -> None:
    """Read and discard the rest of a refused body for a moment."""
    discarded = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_TIMEOUT_S):
            while discarded < _MAX_DISCARDED_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def has_body(headers: Mapping[str, str]) -> bool:
    """Return whether a request has a body (RFC 9112, section 6.3)."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
