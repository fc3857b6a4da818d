"""Run tasks with a limited number of attempts, on any executor."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic

from scripts.bulk.executors.base import Done, Executor, Lost, Result, Task
from scripts.errors import UserError

MAX_ATTEMPTS = 2
#: Consecutive tasks that may end their processes before the cause is assumed to lie elsewhere.
_MAX_CONSECUTIVE_LOSSES = 50


@dataclass(frozen=True)
class Finished(Generic[Task, Result]):
    """A task with its result."""

    task: Task
    result: Result
    attempts: int


@dataclass(frozen=True)
class Quarantined(Generic[Task]):
    """A task that ended its process at every attempt."""

    task: Task
    #: How the last process ended.
    reason: str
    attempts: int


class TooManyLost(UserError):
    """One process after another ended, whatever its task."""


def run_tasks(
    executor: Executor,
    prepare: Callable[[], Callable[[Task], Result]],
    tasks: Iterable[Task],
    *,
    max_attempts: int = MAX_ATTEMPTS,
) -> Generator[Finished[Task, Result] | Quarantined[Task], None, None]:
    """Run each task until it has a result or has ended `max_attempts` processes. Results come in any order.

    Args:
        executor: runs the tasks.
        prepare: see `Executor.run`.
        tasks: hashable and distinct; consumed only as processes become free.
        max_attempts: most attempts per task.

    Raises:
        TooManyLost: process after process ended, without a single result in between.
        UserError: no process can be prepared.
    """
    attempts: dict[Task, int] = {}
    retries: deque[Task] = deque()
    consecutive_losses = 0
    for outcome in _outcomes(executor, prepare, tasks, retries):
        task = outcome.task
        if isinstance(outcome, Done):
            consecutive_losses = 0
            yield Finished(task, outcome.result, attempts.pop(task, 0) + 1)
            continue
        consecutive_losses += 1
        attempts[task] = attempts.get(task, 0) + 1
        if attempts[task] < max_attempts:
            retries.append(task)
        else:
            yield Quarantined(task, outcome.reason, attempts.pop(task))
        if consecutive_losses == _MAX_CONSECUTIVE_LOSSES:
            raise TooManyLost(f"{consecutive_losses} processes in a row ended with their tasks, the last was {outcome.reason}")


def _outcomes(
    executor: Executor, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], retries: deque[Task]
) -> Iterator[Done[Task, Result] | Lost[Task]]:
    """Yield the outcomes of `tasks`, and of tasks put into `retries` in the meantime."""
    source = iter(tasks)

    def pending() -> Iterator[Task]:
        while True:
            while retries:
                yield retries.popleft()
            task = next(source, None)
            if task is None:
                return
            yield task

    while True:
        with closing(executor.run(prepare, pending())) as outcomes:
            yield from outcomes
        # The last lost tasks are put into `retries` after the executor has seen the end.
        if not retries:
            return
