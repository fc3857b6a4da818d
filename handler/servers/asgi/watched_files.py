"""Values read from files, and reloaded when a file changes, without a restart."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from handler.servers.asgi.logs import log_event
from handler.servers.asgi.options import OptionError

T = TypeVar("T")
#: A file may change twice within one tick of its file system's clock, so a file that changed this recently is read again.
_CLOCK_TICK_NS = 1_000_000_000

_Stamp = tuple[tuple[int, ...], ...]


class UnusableFile(OptionError):
    """A file that an option names has unusable contents."""


class WatchedFiles(Generic[T]):
    """A value from one or more files. If a changed file cannot be used, that is logged and the old value stays."""

    def __init__(self, option: str, files: Sequence[Path], read: Callable[[], T]) -> None:
        """Read the value.

        Args:
            option: the option's name, for the log.
            files: the files that `read` reads.
            read: returns the value; raises `UnusableFile` or `OSError` with a reason for the operator.

        Raises:
            UnusableFile: the files cannot be used.
        """
        self._option = option
        self._files = files
        self._read = read
        self._last_stamp = self._logged_stamp = self._stamp()
        try:
            self._value = read()
        except OSError as error:
            raise UnusableFile(f"{option} {error.filename}: {error.strerror}") from error

    def value(self) -> T:
        """Return the files' current value, or the last usable one. Costs a `stat` of each file."""
        stamp = self._stamp()
        if stamp != self._last_stamp or _is_fresh(stamp):
            self._last_stamp = stamp
            self._read_again(stamp)
        return self._value

    def _read_again(self, stamp: _Stamp | str) -> None:
        try:
            self._value, reason = self._read(), None
        except (OSError, UnusableFile) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if stamp == self._logged_stamp:
            return
        self._logged_stamp = stamp
        if reason is None:
            log_event("file read again", option=self._option)
        else:
            log_event("file not usable", option=self._option, reason=reason, kept="the previous contents")

    def _stamp(self) -> _Stamp | str:
        try:
            stats = [file.stat() for file in self._files]
        except OSError as error:
            return str(error)
        return tuple((s.st_ctime_ns, s.st_mtime_ns, s.st_size, s.st_dev, s.st_ino) for s in stats)


def _is_fresh(stamp: _Stamp | str) -> bool:
    return not isinstance(stamp, str) and abs(time.time_ns() - max(changed for changed, *_ in stamp)) < _CLOCK_TICK_NS
