"""The memory of a process, as Linux counts it."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of one process, in bytes."""

    #: Resident at the moment of reading.
    resident: int
    #: The largest resident size since the process started, or since `reset_peak`.
    peak: int

    @classmethod
    def read(cls, pid: int) -> "ProcessMemory":
        """Read the memory of the process `pid` from /proc.

        Raises:
            FileNotFoundError: there is no such process.
        """
        status = Path(f"/proc/{pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        resident, peak = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return cls(resident, peak)


def reset_peak(pid: int) -> None:
    """Let the peak start again from what is resident now (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def family_resident(pid: int) -> int:
    """Return the resident bytes of a process and of all that it has started."""
    parent = psutil.Process(pid)
    return sum(ProcessMemory.read(process.pid).resident for process in (parent, *parent.children(recursive=True)))
