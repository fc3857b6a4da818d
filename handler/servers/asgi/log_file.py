"""Write standard output and error into one file that is replaced when it is full."""

import os
from contextlib import suppress
from pathlib import Path

#: Full files that stay beside the one that is written: `FILE.1` is the latest.
EARLIER_FILES = 5
_OUTPUT, _ERROR = 1, 2


class LogFile:
    """The file behind this process's standard output and error. No line is lost or cut when it is replaced."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """Redirect the two streams to the end of a file.

        Args:
            path: the file; its folder must exist.
            most_bytes: size from which the next line begins a new file.

        Raises:
            OSError: it cannot be written.
        """
        self._path = path
        self._most_bytes = most_bytes
        self._open()

    def replace_if_full(self) -> None:
        """Begin a new file, between two lines, if this one is full; on a full disk the old one goes on."""
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
