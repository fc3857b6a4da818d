"""The interface of all executors: tasks in, outcomes out."""

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
    """A task whose process ended before the task was done."""

    task: Task
    #: How the process ended, as far as known: `killed by SIGKILL`, `exit status 3`, `its node is gone`.
    reason: str


class Executor(Protocol):
    """Runs tasks in separate processes and prepares each process once."""

    def run(
        self, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
    ) -> Generator[Done[Task, Result] | Lost[Task], None, None]:
        """Run `tasks`, in any order, and yield their outcomes.

        A process that dies is replaced, and its task is reported as `Lost`; the caller decides whether to try it again.

        Args:
            prepare: called once in each process; returns the function that runs one task there. Both functions, the tasks and
                the results must be picklable. Tasks should not raise: an error in the input is part of the result. An exception
                from a task ends the run.
            tasks: consumed only as processes become free, so that a source of any length needs no memory.

        Raises:
            UserError: no process can be prepared, for example because the archive cannot be loaded.
        """
        ...
