"""Detect worker processes that give no sign of life."""

from pathlib import Path

#: Consecutive intervals without a sign of life after which a worker counts as hung. Several short ones rather than one long
#: one: while the whole machine is suspended, only one passes. Up to one more passes before the ping that goes unanswered.
SILENT_INTERVALS = 3
#: Fields of proc(5)'s `stat`, counted from the end of the process's name: processor time in user and in kernel mode.
_USER_TICKS, _KERNEL_TICKS = 11, 12


class Heartbeat:
    """Counts consecutive intervals in which a process neither answered a ping nor used the processor.

    Code that holds Python's global interpreter lock, as a dense CRF does for seconds, answers no ping but uses the processor. A
    process that is stopped or deadlocked does neither.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ticks = _processor_ticks(pid)
        self._awaits_pong = False
        #: Consecutive intervals without a sign of life.
        self.silent_intervals = 0

    def record_pong(self) -> None:
        """Record that the process has answered a ping."""
        self._awaits_pong, self.silent_intervals = False, 0

    def beat(self) -> bool:
        """End an interval, and return whether to send the next ping, which is when the last one has been answered."""
        ticks = _processor_ticks(self._pid)
        is_silent = self._awaits_pong and ticks is not None and ticks == self._ticks
        self.silent_intervals = self.silent_intervals + 1 if is_silent else 0
        self._ticks = ticks
        must_ping, self._awaits_pong = not self._awaits_pong, True
        return must_ping


def _processor_ticks(pid: int) -> int | None:
    """Return the processor time of a process in ticks, or None if it is unavailable or there is no such process."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(values[_USER_TICKS]) + int(values[_KERNEL_TICKS])
