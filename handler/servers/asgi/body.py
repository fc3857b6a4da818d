"""Read a request's body within limits of size, time and memory."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from starlette.types import Message, Receive

from handler.servers.asgi.errors import BodyTooLarge, QueueFull, RequestTimeout
from handler.servers.asgi.request_queue import ClientGone

#: A lower average over a whole body is an attack rather than a slow line.
_LEAST_BYTES_PER_S = 16_384
#: A refused body is still read for a moment: a client that is still sending takes a closed connection for a network failure.
_DISCARD_FOR_S, _DISCARD_BYTES = 2.0, 1 << 28


class HeldBytes:
    """The budget of bytes for the request bodies that the server holds, over all requests."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @property
    def bytes(self) -> int:
        return self._held

    @contextmanager
    def hold(self) -> Iterator["BodyShare"]:
        """Yield a share that grows with a body and is released after the block."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._held -= share.bytes

    def take(self, count: int, share: "BodyShare") -> None:
        """Grow a share.

        Raises:
            QueueFull: the shares together would exceed the budget; a lone share may exceed it.
        """
        if self._held > share.bytes and self._held + count > self._most:
            message = f"the requests being held have {self._held:,} bytes, the limit is {self._most:,}; try again in 1 s"
            raise QueueFull(message, reason="held_bytes")
        self._held += count
        share.bytes += count


class BodyShare:
    """The part of `HeldBytes` that one body takes."""

    def __init__(self, held: HeldBytes) -> None:
        self.bytes = 0
        self._held = held

    def grow_to(self, size: int) -> None:
        """Grow to `size` bytes, unless the share has them already.

        Raises:
            QueueFull: the server has no room for them.
        """
        if size > self.bytes:
            self._held.take(size - self.bytes, self)


async def read_body(receive: Receive, headers: Mapping[str, str], most: int, pause: float, share: BodyShare) -> bytearray:
    """Return the whole body.

    Args:
        receive: ASGI's `receive`.
        headers: the request's headers, names in lower case.
        most: the largest body allowed, in bytes.
        pause: the longest pause allowed, in seconds. After this many seconds the average must also exceed 16 KiB/s.
        share: counts the bytes of this body.

    Raises:
        BodyTooLarge: the body is larger than `most`, or declares that it is.
        RequestTimeout: the body arrives too slowly.
        QueueFull: the server already holds too many bytes.
        ClientGone: the client has hung up.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise BodyTooLarge(f"the body has {int(declared):,} bytes, the limit is {most:,}")
    body, began = bytearray(), time.monotonic()
    share.grow_to(int(declared) if declared.isdigit() else 0)
    while True:
        latest = began + pause + len(body) / _LEAST_BYTES_PER_S
        try:
            message = await _receive_within(receive, min(pause, latest - time.monotonic()))
        except TimeoutError as error:
            seconds = time.monotonic() - began
            raise RequestTimeout(f"the body arrived too slowly: {len(body):,} bytes in {seconds:.0f} s") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > most:
            raise BodyTooLarge(f"the body has more bytes than the limit, {most:,}")
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
        async with asyncio.timeout(_DISCARD_FOR_S):
            while discarded < _DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def has_body(headers: Mapping[str, str]) -> bool:
    """Return whether a request has a body (RFC 9112, section 6.3)."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
