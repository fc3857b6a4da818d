import asyncio
import socket
import sys

import pytest

from handler.servers.asgi.last_connections import accept_last_connections

CLIENTS = 20


def test_connected_clients_are_accepted_before_the_listener_closes() -> None:
    accepted = 0

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    async def run() -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=CLIENTS)
        server = await asyncio.start_server(accept, sock=listener)
        # The event loop does not run meanwhile, so all of them wait in the kernel's queue.
        clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
        await accept_last_connections(listener)
        server.close()
        await server.wait_closed()
        for client in clients:
            client.close()

    asyncio.run(run())

    assert accepted == CLIENTS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can keep connections away from an open listener")
def test_later_clients_cannot_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(accept_last_connections(listener))

        with socket.socket() as client:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.connect(listener.getsockname())
