"""The memory of a live server's worker."""

import time

import psutil

from scripts.server import Server

#: The bytes that a worker of the default model may hold when it has come to rest, whatever it was asked before.
MAX_AT_REST = 650 << 20
#: A worker gives memory back about a second after its last request; a busy machine takes longer.
_PATIENCE_S = 60.0
#: A worker at rest has held no less for this long.
_REST_S = 3.0


def require_little_memory(server: Server) -> None:
    """Wait until the server's only worker holds no more than `MAX_AT_REST`.

    Raises:
        AssertionError: it does not come to that.
    """
    (worker,) = server.workers()
    process = psutil.Process(int(str(worker["pid"])))
    end = time.monotonic() + _PATIENCE_S
    while (held := process.memory_info().rss) > MAX_AT_REST:
        assert time.monotonic() < end, f"the worker still holds {held >> 20} MiB at rest"
        time.sleep(0.2)


def resident_at_rest(process: psutil.Process) -> int:
    """Wait until the resident memory of a worker without requests no longer falls; return its bytes."""
    least = process.memory_info().rss
    end = time.monotonic() + _PATIENCE_S
    rested = time.monotonic() + _REST_S
    while time.monotonic() < min(rested, end):
        time.sleep(0.1)
        if (held := process.memory_info().rss) < least:
            least, rested = held, time.monotonic() + _REST_S
    return least
