"""Run tasks in processes on this machine."""

import contextlib
import multiprocessing
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Generic

from scripts.bulk.executors.base import Done, Lost, Result, Task
from scripts.errors import UserError

#: Seconds that a process has to finish its task when a run ends early, so that its output is complete.
_GRACE_S = 5.0
#: Consecutive processes that may end before they are prepared.
_MAX_FAILED_STARTS = 3

_CONTEXT = multiprocessing.get_context("spawn")


class LocalExecutor:
    """Runs one task at a time in each of several processes; a process that dies is replaced.

    >>> for outcome in LocalExecutor(jobs=2).run(prepare, tasks):
    ...     print(outcome)
    """

    def __init__(self, jobs: int) -> None:
        """Store the number of processes; they are started later."""
        self._jobs = jobs

    def run(
        self, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
    ) -> Generator[Done[Task, Result] | Lost[Task], None, None]:
        """Run `tasks`, see `executors.base.Executor.run`; at most one per process is consumed and not yet reported."""
        remaining, pool = iter(tasks), _Pool(prepare)
        try:
            for task in islice(remaining, self._jobs):
                pool.start(task)
            while pool.workers:
                for worker in pool.wait():
                    yield from pool.handle_message(worker, remaining)
        finally:
            pool.close()


@dataclass(frozen=True)
class _Ready:
    """The message that a process sends when it is prepared."""


@dataclass(frozen=True)
class _Answer:
    """The message that a process sends for each task."""

    result: Any


@dataclass(frozen=True)
class _Fault:
    """The message that a process sends if its preparation or a task raises."""

    error: BaseException


class _Worker(Generic[Task]):
    """A process and its task, which is running or will be sent when the process is prepared."""

    def __init__(self, prepare: Callable[[], Callable[[Task], Any]], task: Task) -> None:
        self.connection, child_connection = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(child_connection,), daemon=True)
        self.process.start()
        # Only the process holds the other end now, so the connection ends with it.
        child_connection.close()
        self.task = task
        self.is_ready = False
        self.send(prepare)

    def send(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It has died, which `receive` will report.
            self.connection.send(message)

    def receive(self) -> _Ready | _Answer | _Fault | None:
        """Return the process's next message, or None if it has ended."""
        try:
            message: _Ready | _Answer | _Fault = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        return message

    def exit_reason(self) -> str:
        """Return how the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def end(self, deadline: float) -> None:
        """Let the process finish its task until `time.monotonic()` reaches `deadline`, then kill it."""
        self.connection.close()
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.process.kill()
        self.process.join()
        self.process.close()


class _Pool(Generic[Task]):
    """A run's processes."""

    def __init__(self, prepare: Callable[[], Callable[[Task], Any]]) -> None:
        self._prepare = prepare
        self._failed_starts = 0
        self.workers: list[_Worker[Task]] = []

    def start(self, task: Task) -> None:
        """Start a process for a task."""
        self.workers.append(_Worker(self._prepare, task))

    def wait(self) -> list[_Worker[Task]]:
        """Wait for processes that have sent a message or ended, and return them."""
        ready = wait([worker.connection for worker in self.workers])
        return [worker for worker in self.workers if worker.connection in ready]

    def handle_message(self, worker: _Worker[Task], remaining: Iterator[Task]) -> Iterator[Done[Task, Any] | Lost[Task]]:
        """Receive a process's message, give it or its successor the next task, and yield the outcome of its task."""
        task = worker.task
        match worker.receive():
            case _Ready():
                worker.is_ready, self._failed_starts = True, 0
                worker.send(task)
            case _Answer(result):
                self._give_next(worker, remaining)
                yield Done(task, result)
            case _Fault(error):
                raise error
            case None:
                yield from self._replace(worker, remaining)

    def close(self) -> None:
        """Stop all processes."""
        deadline = time.monotonic() + _GRACE_S
        for worker in self.workers:
            worker.connection.close()
        for worker in self.workers:
            worker.end(deadline)
        self.workers.clear()

    def _give_next(self, worker: _Worker[Task], remaining: Iterator[Task]) -> None:
        for task in islice(remaining, 1):
            worker.task = task
            worker.send(task)
            return
        self._remove(worker)

    def _replace(self, worker: _Worker[Task], remaining: Iterator[Task]) -> Iterator[Lost[Task]]:
        exit_reason = worker.exit_reason()
        self._remove(worker)
        if worker.is_ready:
            for task in islice(remaining, 1):
                self.start(task)
            yield Lost(worker.task, exit_reason)
            return
        self._failed_starts += 1
        if self._failed_starts == _MAX_FAILED_STARTS:
            raise UserError(
                f"a process ended before it had loaded the model, {_MAX_FAILED_STARTS} times in a row: {exit_reason}"
            )
        self.start(worker.task)

    def _remove(self, worker: _Worker[Task]) -> None:
        self.workers.remove(worker)
        worker.end(time.monotonic() + _GRACE_S)


def _serve(connection: Any) -> None:
    """Run in each process: prepare once, then run tasks until the other end of `connection` is closed."""
    # Ctrl-C reaches every process on the terminal; the main program decides what happens to running tasks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        for message in _messages(connection):
            connection.send(message)


def _messages(connection: Any) -> Iterator[_Ready | _Answer | _Fault]:
    prepare = connection.recv()
    try:
        function = prepare()
    except Exception as error:
        yield _Fault(_picklable(error))
        return
    yield _Ready()
    while True:
        task = connection.recv()
        try:
            result = function(task)
        except Exception as error:
            yield _Fault(_picklable(error))
            return
        yield _Answer(result)


def _picklable(error: Exception) -> Exception:
    """Return `error`, or its text if it cannot be pickled, with its traceback as a note."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (of our own making)
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note("".join(traceback.format_exc()))
    return error
