"""The memory of a process, as Linux counts it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Of a process, in bytes."""

    #: Now.
    resident: int
    #: The most that was resident since the process began, or since `forget_peak`.
    peak: int

    @classmethod
    def of(cls, pid: int) -> "Memory":
        status = Path(f"/proc/{pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        resident, peak = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return cls(resident, peak)


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what is resident now (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
