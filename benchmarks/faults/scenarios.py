"""Faults injected into a server under load, and counts of how its requests ended."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import psutil

from benchmarks.faults.exchanges import NOT_LISTENING, PATIENCE_S, Address, Tally, connection
from scripts.server import Server

_PROBE_INTERVAL_S = 0.05


@dataclass(frozen=True)
class Plan:
    """The size of each fault."""

    #: Ordinary clients, and the requests that each sends one after the other.
    clients: int = 8
    requests: int = 40
    #: Clients that send one request each, all at the same moment.
    crowd: int = 160
    #: Connections that send headers or a body byte by byte, and for how many seconds.
    slow: int = 400
    slow_s: float = 25.0
    #: Clients that close their connection before the answer.
    leaving: int = 200
    #: Workers killed one after the other, each as soon as it has started.
    crashes: int = 4
    #: Seconds after which a stopped worker is resumed if it has not been replaced.
    hang_s: float = 40.0
    #: Requests that fill the log with a day's lines.
    log_lines: int = 1_000_000


SMALL = Plan(clients=4, requests=5, crowd=160, slow=400, slow_s=0.5, leaving=100, crashes=1, hang_s=20.0, log_lines=3_000)


@dataclass(frozen=True)
class Subject:
    """A running server, and the request sent to it."""

    server: Server
    address: Address


@dataclass(frozen=True)
class Outcome:
    """How the requests of ordinary clients ended."""

    scenario: str
    tally: Tally
    #: Seconds from the fault until a new request was answered, or None for never; for SIGTERM, until the process ended.
    recovery_s: float | None
    #: How the connections of the misbehaving clients ended, by status or by who closed them.
    culprits: Counter[str] = field(default_factory=Counter)
    #: Other observations.
    note: str = ""


async def kill_worker(subject: Subject, plan: Plan) -> Outcome:
    """Kill the worker process with SIGKILL while requests run."""
    tally = Tally()
    (worker,) = await asyncio.to_thread(subject.server.workers)
    async with load(subject.address, plan, tally):
        await until_loaded(tally)
        psutil.Process(int(str(worker["pid"]))).kill()
        recovery = await recover(subject.address)
    return Outcome("kill -9 of the worker", tally, recovery)


async def crash_loop(subject: Subject, plan: Plan) -> Outcome:
    """Kill each worker as soon as it has started, several times in a row, while requests run."""
    tally, killed = Tally(), set[int]()
    async with load(subject.address, plan, tally):
        await until_loaded(tally)
        while len(killed) < plan.crashes:
            for worker in await asyncio.to_thread(worker_processes, subject.server):
                if worker.pid not in killed:
                    worker.kill()
                    killed.add(worker.pid)
            await asyncio.sleep(_PROBE_INTERVAL_S)
        recovery = await recover(subject.address)
    return Outcome(f"{plan.crashes} workers killed in a row", tally, recovery)


async def hang_worker(subject: Subject, plan: Plan) -> Outcome:
    """Stop the worker with SIGSTOP while requests run, and resume it if it is not replaced."""
    tally = Tally()
    (worker,) = await asyncio.to_thread(worker_processes, subject.server)
    async with load(subject.address, plan, tally):
        await until_loaded(tally)
        worker.suspend()
        start = time.monotonic()
        while worker.is_running() and time.monotonic() - start < plan.hang_s:
            await asyncio.sleep(_PROBE_INTERVAL_S)
        is_replaced = not worker.is_running()
        if not is_replaced:
            worker.resume()
        await recover(subject.address)
        recovery = time.monotonic() - start
    note = "replaced" if is_replaced else f"not replaced within {plan.hang_s:g} s, then resumed"
    return Outcome("SIGSTOP of the worker", tally, recovery, note=note)


async def terminate_server(subject: Subject, plan: Plan) -> Outcome:
    """End the server with SIGTERM while requests run and others arrive."""
    tally, start = Tally(), 0.0
    async with load(subject.address, plan, tally):
        await until_loaded(tally)
        process = subject.server.process()
        if process is not None:
            start = time.monotonic()
            process.terminate()
            await asyncio.to_thread(psutil.wait_procs, [process], 60)
        seconds = time.monotonic() - start
    return Outcome("SIGTERM", tally, seconds)


async def crowd(subject: Subject, plan: Plan) -> Outcome:
    """Send many requests at the same moment."""
    tally = Tally()
    await asyncio.gather(*(tally.send(subject.address) for _ in range(plan.crowd)))
    return Outcome(f"{plan.crowd} clients at once", tally, await recover(subject.address))


async def slow_connections(subject: Subject, plan: Plan) -> Outcome:
    """Open connections that send headers and bodies byte by byte, while ordinary clients send requests."""
    head = subject.address.head
    trickle_head = partial(_trickle, start=b"", tail=head)
    trickle_body = partial(_trickle, start=head, tail=subject.address.photograph)
    trickles = trickle_head, trickle_body
    slow = [partial(trickles[number % 2], address=subject.address, seconds=plan.slow_s) for number in range(plan.slow)]
    tally, culprits = Tally(), Counter[str]()
    async with _misbehaving(slow, culprits), load(subject.address, plan, tally):
        pass
    return Outcome(f"{plan.slow} slow connections", tally, await recover(subject.address), culprits)


async def disconnecting_clients(subject: Subject, plan: Plan) -> Outcome:
    """Close connections in the middle of the body, and between body and answer, while ordinary clients send requests."""
    request = subject.address.request
    parts = request, request[: len(request) // 2]
    leaving = [partial(_hang_up, subject.address, parts[number % 2]) for number in range(plan.leaving)]
    tally, culprits = Tally(), Counter[str]()
    async with _misbehaving(leaving, culprits), load(subject.address, plan, tally):
        pass
    return Outcome(f"{plan.leaving} clients that hang up", tally, await recover(subject.address), culprits)


#: By name, in the order in which one server gets them: the last ends it. After a crash loop a server refuses requests while it
#: has no worker, so it comes after the faults in which requests should wait.
SCENARIOS: dict[str, Callable[[Subject, Plan], Awaitable[Outcome]]] = {
    "kill": kill_worker,
    "hang": hang_worker,
    "crashloop": crash_loop,
    "crowd": crowd,
    "slow": slow_connections,
    "hangup": disconnecting_clients,
    "terminate": terminate_server,
}


def worker_processes(server: Server) -> list[psutil.Process]:
    """Return the processes of the server's workers, including those still loading."""
    parent, workers = server.process(), []
    for child in parent.children() if parent else []:
        try:
            command = " ".join(child.cmdline())
        except psutil.NoSuchProcess:
            continue
        if "model_service_worker" in command or "asgi.worker" in command:
            workers.append(child)
    return workers


@asynccontextmanager
async def load(address: Address, plan: Plan, tally: Tally) -> AsyncIterator[None]:
    """Run ordinary clients during the block, and wait for all their requests after it."""

    async def keep_sending() -> None:
        for _ in range(plan.requests):
            if await tally.send(address) == NOT_LISTENING:
                return

    async with asyncio.TaskGroup() as clients:
        for _ in range(plan.clients):
            clients.create_task(keep_sending())
        yield


async def until_loaded(tally: Tally) -> None:
    """Return when the first request has ended, so that the other clients are waiting for theirs."""
    await until_ended(tally, 1)


async def until_ended(tally: Tally, requests: int) -> None:
    """Return when this many requests have ended, or the server no longer listens."""
    while tally.status_counts.total() + tally.lost < requests and not tally.status_counts[NOT_LISTENING]:
        await asyncio.sleep(0.001)


@asynccontextmanager
async def _misbehaving(clients: Sequence[Callable[[], Awaitable[str]]], ends: Counter[str]) -> AsyncIterator[None]:
    """Run misbehaving clients during the block, and count how they ended."""

    async def run(client: Callable[[], Awaitable[str]]) -> None:
        ends[await client()] += 1

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(run(client))
        yield


async def recover(address: Address) -> float | None:
    """Return the seconds until a new request is answered, or None if that takes longer than `PATIENCE_S`."""
    start = time.monotonic()
    while await Tally().send(address) != "200":
        if time.monotonic() - start > PATIENCE_S:
            return None
        await asyncio.sleep(_PROBE_INTERVAL_S)
    return time.monotonic() - start


async def _trickle(*, start: bytes, tail: bytes, address: Address, seconds: float) -> str:
    """Send `start`, then `tail` byte by byte for some seconds, and return the status or who closed the connection."""
    with suppress(ConnectionError):
        async with connection(address) as (reader, writer):
            writer.write(start)
            answer = asyncio.create_task(reader.read(64))
            pause = max(0.25, seconds / 20)
            for position in range(max(1, int(seconds / pause))):
                writer.write(tail[position : position + 1])
                done, _ = await asyncio.wait([answer], timeout=pause)
                if done:
                    return _status(answer.result())
            answer.cancel()
            return "still open"
    return "closed by the server"


async def _hang_up(address: Address, part: bytes) -> str:
    """Send part of a request, or all of it, and close the connection at once."""
    with suppress(ConnectionError):
        async with connection(address) as (_, writer):
            writer.write(part)
            await writer.drain()
    return "hung up"


def _status(answer: bytes) -> str:
    return answer.split()[1].decode() if answer.startswith(b"HTTP/") else "closed by the server"
