"""Write standard output and error into one file that is replaced when it is full."""

import os
from contextlib import suppress
from pathlib import Path

#: Full files that are kept besides the current one; `FILE.1` is the latest.
EARLIER_FILES = 5
_OUTPUT, _ERROR = 1, 2


class LogFile:
    """The file that receives this process's standard output and error. Replacing it neither cuts nor loses lines."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """Redirect the two streams to the end of a file.

        Args:
            path: the file; its folder must exist.
            most_bytes: once the file has this size, the next line begins a new file.

        Raises:
            OSError: the file cannot be written.
        """
        self._path = path
        self._most_bytes = most_bytes
        #: Lines lost to a full disk since this was last set to 0.
        self.lost = 0
        self._open()

    def append(self, line: str) -> bool:
        """Write a whole line or, if the disk is full, nothing, and return whether it was written."""
        content, size = f"{line}\n".encode(), os.fstat(_OUTPUT).st_size
        try:
            written = os.write(_OUTPUT, content)
        except OSError:
            written = 0
        is_whole = written == len(content)
        if not is_whole:
            self.lost += 1
            with suppress(OSError):
                os.ftruncate(_OUTPUT, size)
        return is_whole

    def replace_if_full(self) -> None:
        """Begin a new file if this one is full; on a full disk, keep using the old one."""
        if os.fstat(_OUTPUT).st_size < self._most_bytes:
            return
        with suppress(OSError):
            for number in range(EARLIER_FILES - 1, 0, -1):
                if self._earlier(number).exists():
                    self._earlier(number).replace(self._earlier(number + 1))
            self._path.replace(self._earlier(1))
            self._open()

    def _earlier(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        for stream in (_OUTPUT, _ERROR):
            os.dup2(descriptor, stream)
        os.close(descriptor)
