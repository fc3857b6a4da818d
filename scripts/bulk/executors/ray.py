"""Run tasks in actors on a Ray cluster, or on a private Ray started on this machine for the run."""

import atexit
import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any, Generic

from scripts.bulk.executors.base import Done, Lost, Result, Task
from scripts.errors import UserError
from scripts.ray_cluster import ROOT, connected

#: Estimate for a process that segments ordinary photographs with the default model, from the server's memory (docs/scale.md).
ACTOR_BYTES = 1_000_000_000
_MAX_FAILED_STARTS = 3
_POLL_INTERVAL_S = 1.0


@dataclass(frozen=True)
class RayOptions:
    """The cluster, and the resources of each actor."""

    #: A running cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None for a private Ray on this machine.
    address: str | None = None
    #: Number of actors; None for as many as the cluster has room for.
    jobs: int | None = None
    #: Processors, GPUs and bytes of memory for each actor.
    cpus: float = 1
    gpus: float = 0
    memory: int = ACTOR_BYTES
    #: Folder with this project, which a running cluster copies to its nodes; None if they already have it.
    project: Path | None = ROOT
    #: Seconds within which the first actor must be prepared.
    startup_timeout: float = 300


class RayExecutor:
    """Runs one task at a time in each of several actors; an actor that dies, or whose node dies, is replaced.

    >>> with RayExecutor(RayOptions(address="auto")) as executor:
    ...     for outcome in executor.run(prepare, tasks):
    ...         print(outcome)

    It connects on the first task. A Ray that it started ends with the block, or with this process.
    """

    def __init__(self, options: RayOptions | None = None) -> None:
        """Store the options; nothing is started yet."""
        self._options = options or RayOptions()
        self._connection = contextlib.ExitStack()
        self._ray: ModuleType | None = None

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self._ray = None
        self._connection.close()

    def run(
        self, prepare: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
    ) -> Generator[Done[Task, Result] | Lost[Task], None, None]:
        """Run `tasks`, see `executors.base.Executor.run`; at most one per actor is consumed and not yet reported.

        Raises:
            UserError: Ray is not installed, or no actor can be started or prepared.
        """
        remaining = iter(tasks)
        for first in islice(remaining, 1):
            if self._ray is None:
                self._ray = self._connection.enter_context(connected(self._options.address, self._options.project))
                atexit.register(self._connection.close)
            yield from self._run_fleet(_Fleet(self._ray, self._options, prepare), chain([first], remaining))

    def _run_fleet(self, fleet: "_Fleet[Task]", remaining: Iterator[Task]) -> Iterator[Done[Task, Any] | Lost[Task]]:
        try:
            while True:
                fleet.dispatch(remaining)
                if not fleet.unreported_tasks:
                    return
                outcomes = list(fleet.wait())
                # Actors get their next tasks before the caller handles the outcomes.
                fleet.dispatch(remaining)
                yield from outcomes
        finally:
            fleet.end()


class _Actor:
    """The actor class that runs on a node: prepared once, then one task at a time."""

    _function: Callable[[Any], Any]

    def prepare(self, prepare: Callable[[], Callable[[Any], Any]]) -> None:
        self._function = prepare()

    def run_task(self, task: Any) -> Any:
        return self._function(task)


@dataclass(eq=False)
class _Worker(Generic[Task]):
    """An actor with at most one running call; without one, it is prepared and free."""

    actor: Any
    #: The task in progress; empty while the actor is being prepared or free.
    tasks: list[Task] = field(default_factory=list)
    is_ready: bool = False


class _Fleet(Generic[Task]):
    """A run's actors, and the tasks that are consumed and not yet reported."""

    def __init__(self, ray: ModuleType, options: RayOptions, prepare: Callable[[], Callable[[Task], Any]]) -> None:
        self._ray = ray
        self._options = options
        self._max_workers = options.jobs or count_jobs(ray.nodes(), options)
        resources = {"num_cpus": options.cpus, "num_gpus": options.gpus, "memory": options.memory}
        self._actor_class = ray.remote(
            **resources, max_concurrency=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(_Actor)
        self._prepare = ray.put(prepare)
        self._waiting: deque[Task] = deque()
        self._workers: list[_Worker[Task]] = []
        self._calls: dict[Any, _Worker[Task]] = {}
        self._failed_starts = 0
        self._unready_since = time.monotonic()

    @property
    def unreported_tasks(self) -> int:
        return len(self._waiting) + sum(len(worker.tasks) for worker in self._workers)

    def dispatch(self, remaining: Iterator[Task]) -> None:
        """Consume tasks up to the number of actors, start the actors that they need, and hand tasks to free actors."""
        self._waiting.extend(islice(remaining, self._max_workers - self.unreported_tasks))
        while len(self._workers) < self.unreported_tasks:
            worker: _Worker[Task] = _Worker(self._actor_class.remote())
            self._workers.append(worker)
            self._calls[worker.actor.prepare.remote(self._prepare)] = worker
        free = (worker for worker in self._workers if worker.is_ready and not worker.tasks)
        for worker in islice(free, len(self._waiting)):
            worker.tasks.append(self._waiting.popleft())
            self._calls[worker.actor.run_task.remote(worker.tasks[0])] = worker

    def wait(self) -> Iterator[Done[Task, Any] | Lost[Task]]:
        """Wait briefly for a call to end, and yield the outcome of its task.

        Raises:
            UserError: no actor can be placed or prepared.
        """
        for call in self._ray.wait(list(self._calls), timeout=_POLL_INTERVAL_S)[0]:
            yield from self._outcome(call, self._calls.pop(call))
        if any(worker.is_ready for worker in self._workers):
            self._unready_since = time.monotonic()
        elif time.monotonic() - self._unready_since > self._options.startup_timeout:
            raise UserError(f"no Ray actor was ready within {self._options.startup_timeout:g} s; {self._describe_resources()}")

    def end(self) -> None:
        """Kill the actors, even in the middle of a task."""
        for worker in self._workers:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.actor)

    def _outcome(self, call: Any, worker: _Worker[Task]) -> Iterator[Done[Task, Any] | Lost[Task]]:
        tasks, worker.tasks = worker.tasks, []
        try:
            result = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from error
        except self._ray.exceptions.RayError as error:
            self._workers.remove(worker)
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.actor)  # It may only be unreachable, and otherwise still run the task.
            self._count_failed_start(worker, describe_end(error))
            yield from (Lost(task, describe_end(error)) for task in tasks)
            return
        worker.is_ready, self._failed_starts = True, 0
        yield from (Done(task, result) for task in tasks)

    def _count_failed_start(self, worker: _Worker[Task], exit_reason: str) -> None:
        self._failed_starts += not worker.is_ready
        if self._failed_starts == _MAX_FAILED_STARTS:
            raise UserError(
                f"an actor ended before it had loaded the model, {_MAX_FAILED_STARTS} times in a row: {exit_reason}"
            )

    def _describe_resources(self) -> str:
        total, options = self._ray.cluster_resources(), self._options
        per_actor = {"CPU": options.cpus, "GPU": options.gpus, "memory": options.memory}
        return f"one takes {_format_resources(per_actor)}; the cluster has {_format_resources(total)}"


def _format_resources(amounts: Mapping[str, float]) -> str:
    processors, gpus, memory = (amounts.get(name, 0) for name in ("CPU", "GPU", "memory"))
    return f"{processors:g} processors, {gpus:g} GPUs and {memory / 1e9:.1f} GB"


def count_jobs(nodes: Iterable[Mapping[str, Any]], options: RayOptions) -> int:
    """Return how many actors fit on the live nodes from `ray.nodes`; at least one, for which a node may join later."""
    per_actor = {"CPU": options.cpus, "GPU": options.gpus, "memory": options.memory}
    live_nodes = (node["Resources"] for node in nodes if node["Alive"])
    counts = (min(node.get(name, 0) // amount for name, amount in per_actor.items() if amount) for node in live_nodes)
    return max(1, sum(map(int, counts)))


def describe_end(error: Exception) -> str:
    """Return a short description of how an actor ended."""
    text = str(error)
    for phrase, description in _ENDINGS.items():
        if phrase in text:
            return description
    return f"its actor ended: {text.strip().splitlines()[-1]}" if text.strip() else f"its actor ended: {type(error).__name__}"


#: Descriptions by phrases in Ray's errors.
_ENDINGS = {
    "node has died": "its node is gone",
    "node was terminated": "its node is gone",
    "low on memory": "killed by Ray, as its node ran short of memory",
    "exit code 0": "exit status 0",
    "connection error code 2": "its process was killed or crashed",
}


def _cause(error: Any) -> BaseException:
    """Return the exception raised in an actor, with the traceback there as a note."""
    cause = error.cause if isinstance(error.cause, BaseException) else RuntimeError(str(error.cause))
    cause.add_note(str(error))
    return cause
