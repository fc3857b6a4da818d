import os
import sys

import pytest

from benchmarks.process_memory import Memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def test_the_peak_holds_what_was_resident() -> None:
    memory = Memory.of(os.getpid())

    assert 0 < memory.resident <= memory.peak
