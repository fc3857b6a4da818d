"""Freed memory goes back to the system, measured in processes of their own."""

import subprocess
import sys

import pytest

from tests.support import ROOT

#: Allocates blocks of 8 MB beside blocks that stay, as arrays of a request beside those of its neighbours, and frees them.
FREE_BLOCKS_BETWEEN_OTHERS = """
import sys
from pathlib import Path
import numpy as np
from handler.allocator import return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "return":
    return_freed_memory()
threshold_raiser = np.ones(30 << 20, np.uint8)
del threshold_raiser
before = resident()
kept = []
freed = []
for _ in range(20):
    freed.append(np.ones(8 << 20, np.uint8))
    kept.append(np.ones(100_000, np.uint8))
freed.clear()
print(resident() - before)
"""


def held_after_freeing(mode: str) -> int:
    command = [sys.executable, "-c", FREE_BLOCKS_BETWEEN_OTHERS, mode]
    return int(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_blocks_between_others_go_back_to_the_system() -> None:
    assert held_after_freeing("return") < 20 << 20
    assert held_after_freeing("keep") > 100 << 20
