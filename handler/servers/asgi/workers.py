"""Start a model's worker processes, hand them requests, and replace those that die."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from handler.servers.asgi import frames
from handler.servers.asgi.errors import ModelNotReady
from handler.servers.asgi.heartbeat import SILENT_INTERVALS, Heartbeat
from handler.servers.asgi.logs import log_event, relay_lines
from handler.servers.asgi.messages import THREADS_VARIABLE, VERSION, Answers, Batch, LoadFailed, Ping, Pong, Ready, Unhealthy
from handler.servers.asgi.request_queue import RequestQueue, Ticket

#: The archive's folder goes first on the import path, so that no other package can shadow its code.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[2]); from handler.servers.asgi.worker import main; main(sys.argv[1:])"
#: If a worker dies after serving for this long, its start was not the cause.
_STABLE_AFTER_S = 10.0
#: Consecutive deaths after which requests are refused instead of kept waiting.
_CRASH_LOOP = 3
_MAX_BACK_OFF_S = 30.0
#: A worker whose socket is closed is killed if it has not exited after this.
_EXIT_TIMEOUT_S = 5.0
_LAST_LINES_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of every worker of a model. Times are in seconds."""

    model: str
    #: The extracted archive.
    folder: Path
    startup_timeout: float
    #: How long a request may overrun its deadline before its worker is considered hung.
    hung_after: float
    #: How long a worker may give no sign of life before it is considered hung.
    silent_after: float
    #: The process's niceness: a model that only shadows another yields the processor to it.
    nice: int = 0
    #: Processors that each worker computes on; 0 for the archive's setting.
    threads: int = 0
    #: The command that starts a worker; the arguments of `worker.main` are appended.
    command: Sequence[str] = (sys.executable, "-P", "-c", _PROGRAM)


@dataclass
class _RunningBatch:
    tickets: Sequence[Ticket]
    sent_at: float | None = None
    hung_timer: asyncio.TimerHandle | None = None


class WorkerProcess:
    """One worker process, from start to end."""

    status: Literal["LOADING", "READY", "ENDED"] = "LOADING"
    ready: Ready | None = None
    ready_at: float | None = None

    def __init__(self, settings: WorkerSettings, queue: RequestQueue, index: int, on_ready: Callable[[Ready], None]) -> None:
        """Prepare the worker, for `run` to start. `on_ready` is called once it has loaded its model."""
        self._settings = settings
        self._queue = queue
        self._index = index
        self._on_ready = on_ready
        self._batches: dict[int, _RunningBatch] = {}
        self._changed = asyncio.Event()
        self._numbers = count()
        self._process: Process | None = None
        self._heartbeat: Heartbeat | None = None
        #: Why the front process ended it, or else how it ended by itself.
        self.end = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def can_answer(self) -> bool:
        """Whether it has loaded its model and gives signs of life."""
        return self.status == "READY" and (self._heartbeat is None or self._heartbeat.silent_intervals == 0)

    async def run(self) -> None:
        """Start the process and send it requests until it ends. Unanswered requests go back to the queue."""
        process, front_socket = await self._start()
        reader, writer = await asyncio.open_connection(sock=front_socket, limit=1 << 20)
        tasks: list[asyncio.Task[None]] = []
        # Workers' output goes through this process, the only one that writes the log.
        relay = asyncio.create_task(relay_lines(process.stdout)) if process.stdout else None
        try:
            ready = await self._await_ready(reader)
            if ready is not None:
                self._heartbeat = Heartbeat(process.pid)
                work = (self._dispatch(writer, ready), self._watch(writer, self._heartbeat))
                tasks += map(asyncio.create_task, work)
                await self._collect(reader, self._heartbeat)
        finally:
            self.status = "ENDED"
            if tasks:
                self._queue.capacity -= self.ready.batches if self.ready else 0
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            writer.close()
            self._requeue_batches()
            await self._await_end(process)
            if relay is not None:
                # A process that the worker started may keep the pipe open.
                await asyncio.wait([relay], timeout=_LAST_LINES_TIMEOUT_S)
                relay.cancel()

    async def _start(self) -> tuple[Process, socket.socket]:
        front_socket, worker_socket = socket.socketpair()
        with worker_socket:
            arguments = (worker_socket.fileno(), self._settings.folder, self._settings.model, self._index, VERSION)
            command = [*self._settings.command, *map(str, arguments)]
            environment = {**os.environ, THREADS_VARIABLE: str(self._settings.threads)}
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=[worker_socket.fileno()], env=environment
                )
            except BaseException:
                front_socket.close()
                raise
        if self._settings.nice:
            with suppress(OSError):  # It may have ended already.
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._settings.nice)
        return self._process, front_socket

    async def _await_ready(self, reader: asyncio.StreamReader) -> Ready | None:
        try:
            async with asyncio.timeout(self._settings.startup_timeout):
                message = await frames.read(reader)
        except TimeoutError:
            self._kill(f"not READY after {self._settings.startup_timeout:g} s")
            return None
        if isinstance(message, LoadFailed):
            self.end = f"cannot load the model: {message.reason}"
        if not isinstance(message, Ready):
            return None
        self.ready, self.ready_at, self.status = message, time.monotonic(), "READY"
        self._queue.capacity += message.batches
        self._on_ready(message)
        return message

    async def _dispatch(self, writer: asyncio.StreamWriter, ready: Ready) -> None:
        while True:
            await self._wait_until(lambda: len(self._batches) < ready.batches)
            tickets = await self._queue.take(ready.requests_per_batch)
            number = next(self._numbers)
            self._batches[number] = _RunningBatch(tickets)
            if tickets[0].is_suspect:
                # Runs alone: if this worker dies too, this request is the cause, and no other is lost with it.
                await self._wait_until(lambda: len(self._batches) == 1)
            await self._send(writer, number)
            if tickets[0].is_suspect:
                await self._wait_until(lambda: not self._batches)

    async def _send(self, writer: asyncio.StreamWriter, number: int) -> None:
        batch = self._batches[number]
        batch.sent_at = time.monotonic()
        hung_at = max(ticket.deadline for ticket in batch.tickets) + self._settings.hung_after
        batch.hung_timer = asyncio.get_running_loop().call_later(hung_at - batch.sent_at, self._kill, _HUNG)
        try:
            writer.write(frames.encode(Batch(number, [ticket.request for ticket in batch.tickets])))
            await writer.drain()
        except ConnectionError:  # The worker has died, which `_collect` notices.
            await asyncio.Event().wait()

    async def _watch(self, writer: asyncio.StreamWriter, heartbeat: Heartbeat) -> None:
        while True:
            await asyncio.sleep(self._settings.silent_after / (SILENT_INTERVALS + 1))
            if heartbeat.beat():
                writer.write(frames.encode(Ping()))
            if heartbeat.silent_intervals >= SILENT_INTERVALS:
                self._kill(f"hung: no sign of life within {self._settings.silent_after:g} s")

    async def _collect(self, reader: asyncio.StreamReader, heartbeat: Heartbeat) -> None:
        while isinstance(message := await frames.read(reader), Answers | Pong):
            if isinstance(message, Pong):
                heartbeat.record_pong()
                continue
            batch = self._batches.pop(message.number)
            self._queue.observer.finish(message.answers)
            self._changed.set()
            if batch.hung_timer is not None:
                batch.hung_timer.cancel()
            seconds = (time.monotonic() - (batch.sent_at or 0)) / len(batch.tickets)
            for ticket, answer in zip(batch.tickets, message.answers, strict=True):
                self._queue.finish(ticket, answer, seconds)
        if isinstance(message, Unhealthy):
            self.end = message.reason

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _requeue_batches(self) -> None:
        # In reverse, since each goes to the head of the queue.
        for batch in reversed(self._batches.values()):
            if batch.hung_timer is not None:
                batch.hung_timer.cancel()
            for ticket in reversed(batch.tickets):
                self._queue.requeue(ticket, died=batch.sent_at is not None)
        self._batches = {}

    def _kill(self, reason: str) -> None:
        self.end = reason
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _await_end(self, process: Process) -> None:
        try:
            async with asyncio.timeout(_EXIT_TIMEOUT_S):
                code = await process.wait()
        except TimeoutError:
            process.kill()
            code = await process.wait()
        self.end = self.end or (f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")


_HUNG = "hung: a request overran its deadline"


class ModelWorkers:
    """The workers of one model. Each is replaced when it ends: at once or, if it keeps dying, after a growing pause."""

    def __init__(self, settings: WorkerSettings, queue: RequestQueue, workers: int) -> None:
        self.settings = settings
        self.queue = queue
        #: The message of the worker that last became READY.
        self.ready: Ready | None = None
        #: How the last worker to end did so.
        self.last_end = ""
        self._deaths_in_a_row = 0
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def workers_ready(self) -> int:
        return sum(worker is not None and worker.can_answer for worker in self._workers)

    @property
    def is_ready(self) -> bool:
        """Whether a worker can answer now."""
        return self.workers_ready > 0

    def describe(self) -> list[dict[str, object]]:
        """Return the id, status and process id of each worker."""
        descriptions: list[dict[str, object]] = []
        for index, worker in enumerate(self._workers):
            status = worker.status if worker else "LOADING"
            descriptions.append({"id": str(index), "status": status, "pid": (worker and worker.pid) or 0})
        return descriptions

    def start(self) -> None:
        """Start the workers, and keep them running."""
        self._tasks = [asyncio.create_task(self._keep_running(index)) for index in range(len(self._workers))]

    async def stop(self) -> None:
        """End the workers. The requests they hold are lost, so let the queue run empty first."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _keep_running(self, index: int) -> None:
        while True:
            worker = self._workers[index] = WorkerProcess(self.settings, self.queue, index, self._record_ready)
            try:
                await worker.run()
            except Exception as error:  # Out of memory or descriptors, say; the model must get a worker all the same.
                worker.end, worker.status = f"{type(error).__name__}: {error}", "ENDED"
            pause = self._record_death(worker)
            await asyncio.sleep(pause)
            self.queue.observer.restart()

    def _record_ready(self, ready: Ready) -> None:
        self.ready = ready
        self.queue.closed = None
        log_event("worker ready", model=self.settings.model, **_summarize(ready))

    def _record_death(self, worker: WorkerProcess) -> float:
        """Log that a worker ended, and return the seconds to wait before starting another."""
        served_s = time.monotonic() - worker.ready_at if worker.ready_at is not None else None
        self._deaths_in_a_row = 1 if served_s is not None and served_s > _STABLE_AFTER_S else self._deaths_in_a_row + 1
        is_first = self._deaths_in_a_row == 1 and served_s is not None
        pause = 0.0 if is_first else min(_MAX_BACK_OFF_S, 0.25 * 2**self._deaths_in_a_row)
        name, self.last_end = self.settings.model, worker.end
        log_event("worker ended", model=name, pid=worker.pid, reason=worker.end, ready=served_s is not None, restart_in_s=pause)
        if self._deaths_in_a_row >= _CRASH_LOOP and not self.is_ready:
            retry_after = max(1, round(pause))
            message = f"model {name!r}: its workers keep dying; the server tries again in {retry_after} s"
            self.queue.refuse_all(ModelNotReady(message, retry_after))
        return pause


def _summarize(ready: Ready) -> dict[str, object]:
    return {"version": ready.model_version, "batches": ready.batches, "requests_per_batch": ready.requests_per_batch}


def has_worker(folder: Path) -> bool:
    """Whether the extracted archive in `folder` can run as a worker of this server."""
    return os.access(folder / "handler" / "servers" / "asgi" / "worker.py", os.R_OK)
