"""Messages on the socket between the front process and a worker: eight bytes of length, then a pickle.

Both ends are processes of the same server, on a socket that no other process can reach.
"""

import asyncio
import io
import pickle
import socket
import struct

from handler.servers.asgi.messages import Message

_LENGTH = struct.Struct(">Q")


def encode(message: Message) -> memoryview:
    """Return the frame of `message` as one buffer: two writes would wake the other end twice."""
    frame = io.BytesIO(bytes(_LENGTH.size))
    frame.seek(_LENGTH.size)
    pickle.dump(message, frame, protocol=5)
    content = frame.getbuffer()
    _LENGTH.pack_into(content, 0, len(content) - _LENGTH.size)
    return content


async def read(stream: asyncio.StreamReader) -> Message | None:
    """Return the next message, or None once the other end has closed the socket."""
    try:
        (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
        message: Message = pickle.loads(await stream.readexactly(length))  # noqa: S301 (from our own process)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message


def receive(connection: socket.socket) -> Message | None:
    """Wait for the next message, and return it, or None once the other end has closed the socket."""
    length = _receive_exactly(connection, _LENGTH.size)
    content = length and _receive_exactly(connection, _LENGTH.unpack(length)[0])
    return pickle.loads(content) if content else None  # noqa: S301 (from our own process)


def _receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        try:
            count = connection.recv_into(view)
        except ConnectionError:
            return None
        if count == 0:
            return None
        view = view[count:]
    return content
