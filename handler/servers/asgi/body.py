"""Read a request's body within its limits of bytes, time and memory."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from starlette.types import Message, Receive

from handler.servers.asgi.errors import BodyTooLarge, QueueFull, RequestTimeout
from handler.servers.asgi.request_queue import ClientGone

#: Slower than this over a whole body is not a slow line but an attack.
_LEAST_BYTES_PER_S = 16_384
#: A refused body is read on for a moment: a client that still sends takes a closed connection for a failure of the network.
_DISCARD_FOR_S, _DISCARD_BYTES = 2.0, 1 << 28


class HeldBytes:
    """The bytes of bodies that the server holds, of all requests together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @property
    def bytes(self) -> int:
        return self._held

    @contextmanager
    def hold(self) -> Iterator["BodyShare"]:
        """Give a share that grows with a body, and is free again after the block."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self._held -= share.bytes

    def take(self, count: int, share: "BodyShare") -> None:
        """Let a share grow.

        Raises:
            QueueFull: all shares together would be too many bytes; a lone one may be.
        """
        if self._held > share.bytes and self._held + count > self._most:
            message = f"the requests in hand have {self._held:,} bytes, the limit is {self._most:,}; try again in 1 s"
            raise QueueFull(message, reason="held_bytes")
        self._held += count
        share.bytes += count


class BodyShare:
    """What one body takes of `HeldBytes`."""

    def __init__(self, held: HeldBytes) -> None:
        self.bytes = 0
        self._held = held

    def grow_to(self, size: int) -> None:
        """Take as much more as is needed for `size` bytes.

        Raises:
            QueueFull: there is no room for them.
        """
        if size > self.bytes:
            self._held.take(size - self.bytes, self)


async def read_body(receive: Receive, headers: Mapping[str, str], most: int, pause: float, share: BodyShare) -> bytearray:
    """Return the whole body.

    Args:
        receive: ASGI's.
        headers: the request's, names in lower case.
        most: bytes that the body may have.
        pause: seconds that it may pause. After as many seconds it must also come faster than 16 KiB/s on the whole.
        share: where its bytes are counted.

    Raises:
        BodyTooLarge: it has, or says that it has, more bytes.
        RequestTimeout: it is too slow.
        QueueFull: the server holds too many bytes already.
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
            raise RequestTimeout(f"the body came too slowly: {len(body):,} bytes in {seconds:.0f} s") from error
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
    """Read on for a moment what a client still sends of a body that is refused."""
    discarded = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_FOR_S):
            while discarded < _DISCARD_BYTES:
                message = await receive()
                discarded += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


def has_body(headers: Mapping[str, str]) -> bool:
    """Tell whether a request has a body (RFC 9112, section 6.3)."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
