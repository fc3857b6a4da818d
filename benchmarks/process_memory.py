"""Read the memory of processes on Linux."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of one process, in bytes."""

    #: Current resident size.
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
    """Reset the peak to the current resident size (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def family_resident(pid: int) -> int:
    """Return the resident bytes of a process and all its descendants."""
    parent = psutil.Process(pid)
    return sum(ProcessMemory.read(process.pid).resident for process in (parent, *parent.children(recursive=True)))
