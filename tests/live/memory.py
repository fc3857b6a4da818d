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
MAX_IDLE_BYTES = (650 + 280 * _has_cuda_build()) << 20
#: A worker returns memory about a second after its last request; on a busy machine it takes longer.
_PATIENCE_S = 60.0
#: A worker is idle once its memory has not fallen for this long.
_SETTLED_AFTER_S = 3.0


def require_low_memory(server: Server) -> None:
    """Wait until the server's only worker holds no more than `MAX_IDLE_BYTES`.

    Raises:
        AssertionError: it still holds more after a minute.
    """
    (worker,) = server.workers()
    process = psutil.Process(int(str(worker["pid"])))
    end = time.monotonic() + _PATIENCE_S
    while (resident := process.memory_info().rss) > MAX_IDLE_BYTES:
        assert time.monotonic() < end, f"the worker still holds {resident >> 20} MiB while idle"
        time.sleep(0.2)


def measure_idle_memory(process: psutil.Process) -> int:
    """Wait until the resident memory of a worker without requests stops falling; return its bytes."""
    least = process.memory_info().rss
    end = time.monotonic() + _PATIENCE_S
    settled = time.monotonic() + _SETTLED_AFTER_S
    while time.monotonic() < min(settled, end):
        time.sleep(0.1)
        if (resident := process.memory_info().rss) < least:
            least, settled = resident, time.monotonic() + _SETTLED_AFTER_S
    return least
