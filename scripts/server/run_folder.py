"""The folder of a server's state and logs: one start at a time, and earlier logs are kept."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOGS = "logs"
#: Number of earlier log folders to keep; logs.1 is the latest.
EARLIER_LOGS = 5


@contextmanager
def lock(run_directory: Path) -> Iterator[None]:
    """Let one process at a time start a server in a folder; others wait for it.

    Linux releases the lock when its process ends, for whatever reason.
    """
    run_directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def new_logs(run_directory: Path) -> Path:
    """Return an empty folder for logs; the previous server's becomes `logs.1`, and the oldest is removed."""
    logs = run_directory / LOGS
    if logs.is_dir() and any(logs.iterdir()):
        shutil.rmtree(run_directory / f"{LOGS}.{EARLIER_LOGS}", ignore_errors=True)
        for number in range(EARLIER_LOGS - 1, -1, -1):
            earlier = run_directory / f"{LOGS}.{number}" if number else logs
            if earlier.is_dir():
                earlier.rename(run_directory / f"{LOGS}.{number + 1}")
    logs.mkdir(exist_ok=True)
    return logs
