"""Tasks that stand in for images and whose names say what they do. Child processes import this module, so it is light."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import UserError


@dataclass(frozen=True)
class Do:
    """Prepares a process for stand-in tasks."""

    #: Each prepared process appends a line.
    log: Path

    def __call__(self) -> Callable[[str], str]:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()}\n")
        return do


def do(task: str) -> str:
    """Do what the task's first word says: `kill`, `exit`, `raise`, `sleep`, `hold`, or nothing."""
    match task.split():
        case ["kill", *_]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["kill-once", path]:
            if not Path(path).exists():
                Path(path).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case ["exit", *_]:
            os._exit(3)
        case ["raise", *_]:
            raise EOFError("a bug in the task")
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["hold", begun, released]:
            Path(begun).touch()
            while not Path(released).exists():
                time.sleep(0.01)
        case ["pid"]:
            return str(os.getpid())
    return f"did {task}"


def refuse() -> Callable[[str], str]:
    """Fail like a preparation whose archive cannot be loaded."""
    raise UserError("no such archive")


def die() -> Callable[[str], str]:
    """End the process during its preparation."""
    os._exit(4)
