import mmap
import os
import sys

import pytest

from benchmarks.process_memory import ProcessMemory, reset_peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def test_the_peak_is_at_least_the_resident_size() -> None:
    memory = ProcessMemory.read(os.getpid())

    assert 0 < memory.resident <= memory.peak


def test_resetting_the_peak_drops_freed_memory() -> None:
    buffer = mmap.mmap(-1, 200 << 20)
    buffer.write(bytes(200 << 20))
    buffer.close()
    before = ProcessMemory.read(os.getpid()).peak

    reset_peak(os.getpid())

    assert ProcessMemory.read(os.getpid()).peak < before
