"""Freed memory is returned to the system, as measured in separate processes."""

import subprocess
import sys

import pytest

from tests.support import ROOT

#: Allocates 8 MB blocks between small ones, like the arrays of concurrent requests, and frees only the large ones.
FREE_BLOCKS_BETWEEN_OTHERS = """
import sys
from pathlib import Path
import numpy as np
from handler.allocator import configure_malloc

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "return":
    configure_malloc()
threshold_raiser = np.ones(30 << 20, np.uint8)
del threshold_raiser
before = resident()
remaining = []
freed = []
for _ in range(20):
    freed.append(np.ones(8 << 20, np.uint8))
    remaining.append(np.ones(100_000, np.uint8))
freed.clear()
print(resident() - before)
"""


def resident_growth(mode: str) -> int:
    command = [sys.executable, "-c", FREE_BLOCKS_BETWEEN_OTHERS, mode]
    return int(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_blocks_between_others_are_returned_to_the_system() -> None:
    assert resident_growth("return") < 20 << 20
    assert resident_growth("keep") > 100 << 20


#: Allocates small blocks, like Python objects, and frees all except the last of each thousand.
TRIM_FREED_BLOCKS = """
import ctypes
from pathlib import Path
from handler.allocator import trim_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(1000) for _ in range(100_000)]
for block in blocks:
    ctypes.memset(block, 1, 1000)
for index, block in enumerate(blocks):
    if index % 1000 < 999:
        libc.free(block)
before = resident()
trim_heap()
print(before - resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_trimming_returns_free_memory_between_blocks_in_use() -> None:
    output = subprocess.run([sys.executable, "-c", TRIM_FREED_BLOCKS], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout

    assert int(output) > 50 << 20
