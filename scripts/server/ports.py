"""The ports of a TorchServe instance."""

import socket
import sys
from dataclasses import asdict, dataclass

from scripts.errors import UserError

DEFAULT_PORT = 8080
#: The next four ports are used too.
LAST_BASE_PORT = 65531
LOOPBACK = "127.0.0.1"


class ServerError(UserError):
    """A server cannot be started, did not become READY, or cannot be found again."""


@dataclass(frozen=True)
class Ports:
    """The five ports of a TorchServe instance, all on loopback."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Return five ports in a row, as in config.properties.

        Raises:
            ServerError: a port would not be between 1024 and 65535.
        """
        if not 1024 <= base <= LAST_BASE_PORT:
            raise ServerError(f"PORT {base} must be from 1024 to {LAST_BASE_PORT}: it and the four ports after it are used")
        return cls(*range(base, base + 5))

    @classmethod
    def free(cls) -> "Ports":
        """Return five unused ports, reserved until this process ends.

        Linux assigns the port of a bound socket to no other process, yet lets TorchServe listen on it, because both sockets set
        SO_REUSEADDR and the first does not listen. On other systems the ports are only known to be free at this moment.
        """
        sockets = [socket.socket() for _ in range(5)]
        for reservation in sockets:
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.bind((LOOPBACK, 0))
        ports = cls(*(reservation.getsockname()[1] for reservation in sockets))
        for reservation in sockets:
            if sys.platform == "linux":
                reservation.detach()  # The descriptor stays open until the process ends.
            else:
                reservation.close()
        return ports

    def in_use(self) -> list[int]:
        """Return the ports that are already in use."""
        return [port for port in asdict(self).values() if _listens(port)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
