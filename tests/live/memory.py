"""The memory of a live server's worker."""

import time
from importlib.util import find_spec
from pathlib import Path

import psutil

from scripts.server import Server


def _has_cuda_build() -> bool:
    spec = find_spec("torch")
    return spec is not None and spec.origin is not None and (Path(spec.origin).parent / "lib" / "libtorch_cuda.so").exists()


#: The bytes that an idle worker of the default model may hold, whatever requests it has served. Importing PyTorch's CUDA
#: build, as the first explanation does, takes 280 MiB more than importing its CPU build.
MAX_AT_REST = (650 + 280 * _has_cuda_build()) << 20
#: A worker returns memory about a second after its last request; on a busy machine it takes longer.
_PATIENCE_S = 60.0
#: A worker is idle once its memory has not fallen for this long.
_REST_S = 3.0


def require_little_memory(server: Server) -> None:
    """Wait until the server's only worker holds no more than `MAX_AT_REST`.

    Raises:
        AssertionError: it keeps holding more.
    """
    (worker,) = server.workers()
    process = psutil.Process(int(str(worker["pid"])))
    end = time.monotonic() + _PATIENCE_S
    while (held := process.memory_info().rss) > MAX_AT_REST:
        assert time.monotonic() < end, f"the worker still holds {held >> 20} MiB at rest"
        time.sleep(0.2)


def resident_at_rest(process: psutil.Process) -> int:
    """Wait until the resident memory of a worker without requests stops falling; return its bytes."""
    least = process.memory_info().rss
    end = time.monotonic() + _PATIENCE_S
    rested = time.monotonic() + _REST_S
    while time.monotonic() < min(rested, end):
        time.sleep(0.1)
        if (held := process.memory_info().rss) < least:
            least, rested = held, time.monotonic() + _REST_S
    return least
