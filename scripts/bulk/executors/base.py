"""What every executor does: tasks in, what became of them out."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Task, Result]):
    """A task with its result."""

    task: Task
    result: Result


@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A task whose process ended before it was done."""

    task: Task
    #: How the process ended, as far as known: `killed by SIGKILL`, `exit status 3`, `its node is gone`.
    reason: str


class Executor(Protocol):
    """Runs tasks in separate processes and prepares each process once."""

    def run(
        self, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
    ) -> Generator[Done[Task, Result] | Lost[Task], None, None]:
        """Do `tasks`, in any order.

        A process that dies is replaced, and its task is reported as `Lost`; whether to try it again is the caller's decision.

        Args:
            prepare: called once in each process; returns what does one task there. Both, the tasks and the results can be
                pickled. A task does not raise: a fault of its input is part of its result. One that raises all the same
                ends the run with that exception.
            tasks: taken only as processes become free, so that a source of any length needs no memory.

        Raises:
            UserError: no process can be prepared, for instance since the archive cannot be loaded.
        """
        ...
