"""Tasks that stand in for images and are named after what they do. Child processes import this module, so it is light."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import UserError


@dataclass(frozen=True)
class PrepareTasks:
    """Prepares a process for stand-in tasks."""

    #: Each prepared process appends a line.
    log: Path

    def __call__(self) -> Callable[[str], str]:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()}\n")
        return run_task


def run_task(task: str) -> str:
    """Run the command that is the task's first word: `kill`, `exit`, `raise`, `sleep`, `hold`, `pid`, or nothing."""
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
        case ["hold", started, released]:
            Path(started).touch()
            while not Path(released).exists():
                time.sleep(0.01)
        case ["pid"]:
            return str(os.getpid())
    return f"did {task}"


def fail_to_load() -> Callable[[str], str]:
    """Fail as if the archive could not be loaded."""
    raise UserError("no such archive")


def exit_while_loading() -> Callable[[str], str]:
    """End the process while it is being prepared."""
    os._exit(4)
