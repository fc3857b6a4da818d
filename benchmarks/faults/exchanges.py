"""HTTP exchanges with a definite outcome: answered, refused or lost."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

#: An answer that takes longer counts as lost.
PATIENCE_S = 150.0
_HOST = "127.0.0.1"
#: Used in place of a status when nothing listens on the port any more.
NOT_LISTENING = "no listener"


@dataclass(frozen=True)
class Address:
    """Where requests are sent, and the photograph they send."""

    port: int
    path: str
    photograph: bytes

    @property
    def head(self) -> bytes:
        """The headers of a request; its body is the photograph."""
        lines = (
            f"POST {self.path} HTTP/1.1",
            f"Host: {_HOST}",
            "Content-Type: image/jpeg",
            f"Content-Length: {len(self.photograph)}",
        )
        return "\r\n".join([*lines, "", ""]).encode()

    @property
    def request(self) -> bytes:
        return self.head + self.photograph


@dataclass
class Tally:
    """How requests ended."""

    sent: int = 0
    #: By status, with `NOT_LISTENING` for refused connections.
    status_counts: Counter[str] = field(default_factory=Counter)
    #: Requests without a complete answer: the connection broke, or it took longer than `PATIENCE_S`.
    lost: int = 0
    longest_s: float = 0.0

    @property
    def answered(self) -> int:
        return self.status_counts["200"]

    @property
    def refused(self) -> int:
        """Requests that got an error instead of an answer."""
        return self.status_counts.total() - self.answered

    async def send(self, address: Address) -> str | None:
        """Send one request on a new connection, count its outcome, and return its status, or None if it is lost."""
        self.sent += 1
        start = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await exchange(address)
        except ConnectionRefusedError:
            status = NOT_LISTENING
        except (OSError, EOFError, TimeoutError, ValueError):
            status = None
        self.longest_s = max(self.longest_s, time.monotonic() - start)
        if status is None:
            self.lost += 1
        else:
            self.status_counts[status] += 1
        return status


async def exchange(address: Address) -> str:
    """Send one request, read the whole answer and return its status.

    Raises:
        OSError: the connection is refused or broken.
        EOFError: the connection was closed before the end of the answer.
        ValueError: the answer is not HTTP.
    """
    async with connection(address) as (reader, writer):
        writer.write(address.request)
        with suppress(ConnectionError):  # The server may refuse before the whole body is sent.
            await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(":", 1) for line in head[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        return head[0].split()[1]


@asynccontextmanager
async def connection(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection that is closed after the block, whatever its state."""
    reader, writer = await asyncio.open_connection(_HOST, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
