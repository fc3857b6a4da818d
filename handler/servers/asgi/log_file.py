"""Write standard output and error into one file that is replaced when it is full."""

import os
from contextlib import suppress
from pathlib import Path

#: Full files that are kept besides the current one; `FILE.1` is the latest.
BACKUP_COUNT = 5
_OUTPUT, _ERROR = 1, 2


class LogFile:
    """The file that receives this process's standard output and error. Replacing it neither cuts nor loses lines."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Redirect the two streams to the end of a file.

        Args:
            path: the file; its folder must exist.
            max_bytes: once the file has this size, the next line begins a new file.

        Raises:
            OSError: the file cannot be written.
        """
        self._path = path
        self._max_bytes = max_bytes
        #: Lines lost to a full disk since this was last set to 0.
        self.lost_lines = 0
        self._open()

    def append(self, line: str) -> bool:
        """Write a whole line or, if the disk is full, nothing, and return whether it was written."""
        content, size = f"{line}\n".encode(), os.fstat(_OUTPUT).st_size
        try:
            written_bytes = os.write(_OUTPUT, content)
        except OSError:
            written_bytes = 0
        is_complete = written_bytes == len(content)
        if not is_complete:
            self.lost_lines += 1
            with suppress(OSError):
                os.ftruncate(_OUTPUT, size)
        return is_complete

    def replace_if_full(self) -> None:
        """Begin a new file if this one is full; on a full disk, keep using the old one."""
        if os.fstat(_OUTPUT).st_size < self._max_bytes:
            return
        with suppress(OSError):
            for number in range(BACKUP_COUNT - 1, 0, -1):
                if self._backup_path(number).exists():
                    self._backup_path(number).replace(self._backup_path(number + 1))
            self._path.replace(self._backup_path(1))
            self._open()

    def _backup_path(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        for stream in (_OUTPUT, _ERROR):
            os.dup2(descriptor, stream)
        os.close(descriptor)
