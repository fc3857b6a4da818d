import mmap
import os
import sys

import pytest

from benchmarks.process_memory import ProcessMemory, reset_peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def test_the_peak_is_at_least_what_is_resident() -> None:
    memory = ProcessMemory.read(os.getpid())

    assert 0 < memory.resident <= memory.peak


def test_a_reset_peak_forgets_memory_that_was_freed() -> None:
    held = mmap.mmap(-1, 200 << 20)
    held.write(bytes(200 << 20))
    held.close()
    before = ProcessMemory.read(os.getpid()).peak

    reset_peak(os.getpid())

    assert ProcessMemory.read(os.getpid()).peak < before
