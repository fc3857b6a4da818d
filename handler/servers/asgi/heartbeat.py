"""Notice that a worker process gives no sign of life."""

from pathlib import Path

#: Intervals without a sign of life after which a worker is taken for hung. Several, and not one of their sum: while the whole
#: machine stands still, only one passes. Up to one more passes before the ping that is not answered.
SILENT_INTERVALS = 3
#: Where proc(5) has the processor time of a process, counted from the end of its name: in user and in kernel mode.
_USER, _KERNEL = 11, 12


class Heartbeat:
    """Counts the intervals in a row in which a process neither answered a ping nor used the processor.

    Code that holds Python's lock, as a dense CRF does for seconds, answers no ping, but uses the processor. A process that is
    stopped or deadlocked does neither.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ticks = _processor_ticks(pid)
        self._is_asked = False
        #: How many intervals in a row have passed without a sign of life.
        self.silent = 0

    def answer(self) -> None:
        """Note that the process has answered a ping."""
        self._is_asked, self.silent = False, 0

    def beat(self) -> bool:
        """End an interval; return whether the process is to be sent a ping, because it has answered the last one."""
        ticks = _processor_ticks(self._pid)
        self.silent = self.silent + 1 if self._is_asked and ticks is not None and ticks == self._ticks else 0
        self._ticks = ticks
        must_ask, self._is_asked = not self._is_asked, True
        return must_ask


def _processor_ticks(pid: int) -> int | None:
    """Return how long a process has used processors, in ticks; None: the system does not say, or there is no such process."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(values[_USER]) + int(values[_KERNEL])
