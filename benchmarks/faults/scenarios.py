"""Faults that are injected into a server under load, and counts of how its requests ended."""

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

_PROBE_EVERY_S = 0.05


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


SMALL = Plan(clients=4, requests=5, crowd=160, slow=400, slow_s=0.5, leaving=100)


@dataclass(frozen=True)
class Subject:
    """A running server, and what it is asked."""

    server: Server
    address: Address


@dataclass(frozen=True)
class Outcome:
    """How the requests of ordinary clients ended."""

    scenario: str
    tally: Tally
    #: Seconds from the fault until a new request was answered, None: never; for an end, until the process had ended.
    recovery_s: float | None
    #: How the connections of the clients at fault ended, by status or by who closed them.
    culprits: Counter[str] = field(default_factory=Counter)


async def kill_worker(subject: Subject, plan: Plan) -> Outcome:
    """Kill the worker process with SIGKILL while requests run."""
    tally = Tally()
    (worker,) = await asyncio.to_thread(subject.server.workers)
    async with _load(subject.address, plan, tally):
        await _under_load(tally)
        psutil.Process(int(str(worker["pid"]))).kill()
        recovery = await _recover(subject.address)
    return Outcome("kill -9 of the worker", tally, recovery)


async def terminate_server(subject: Subject, plan: Plan) -> Outcome:
    """End the server with SIGTERM while requests run and others arrive."""
    tally, started = Tally(), 0.0
    async with _load(subject.address, plan, tally):
        await _under_load(tally)
        process = subject.server.process()
        if process is not None:
            started = time.monotonic()
            process.terminate()
            await asyncio.to_thread(psutil.wait_procs, [process], 60)
        seconds = time.monotonic() - started
    return Outcome("SIGTERM", tally, seconds)


async def crowd(subject: Subject, plan: Plan) -> Outcome:
    """Send many requests at the same moment."""
    tally = Tally()
    await asyncio.gather(*(tally.send(subject.address) for _ in range(plan.crowd)))
    return Outcome(f"{plan.crowd} clients at once", tally, await _recover(subject.address))


async def slow_connections(subject: Subject, plan: Plan) -> Outcome:
    """Hold connections on which headers and bodies come byte by byte, beside ordinary clients."""
    head = subject.address.head
    halves = (partial(_trickle, begin=b"", rest=head), partial(_trickle, begin=head, rest=subject.address.photograph))
    slow = [partial(halves[number % 2], address=subject.address, seconds=plan.slow_s) for number in range(plan.slow)]
    tally, culprits = Tally(), Counter[str]()
    async with _beside(slow, culprits), _load(subject.address, plan, tally):
        pass
    return Outcome(f"{plan.slow} slow connections", tally, await _recover(subject.address), culprits)


async def hanging_up(subject: Subject, plan: Plan) -> Outcome:
    """Close connections in the middle of the body, and after it before the answer, beside ordinary clients."""
    request = subject.address.request
    leaving = [partial(_leave, subject.address, request[: len(request) // (1 + number % 2)]) for number in range(plan.leaving)]
    tally, culprits = Tally(), Counter[str]()
    async with _beside(leaving, culprits), _load(subject.address, plan, tally):
        pass
    return Outcome(f"{plan.leaving} clients that hang up", tally, await _recover(subject.address), culprits)


#: By name, in the order in which they are done to one server: the last ends it.
SCENARIOS: dict[str, Callable[[Subject, Plan], Awaitable[Outcome]]] = {
    "kill": kill_worker,
    "crowd": crowd,
    "slow": slow_connections,
    "hangup": hanging_up,
    "terminate": terminate_server,
}


@asynccontextmanager
async def _load(address: Address, plan: Plan, tally: Tally) -> AsyncIterator[None]:
    """Let ordinary clients send their requests, from the start of the block on; wait for all of them after it."""

    async def keep_sending() -> None:
        for _ in range(plan.requests):
            if await tally.send(address) == NOT_LISTENING:
                return

    async with asyncio.TaskGroup() as clients:
        for _ in range(plan.clients):
            clients.create_task(keep_sending())
        yield


async def _under_load(tally: Tally) -> None:
    """Return when the first request has ended: the other clients wait for theirs."""
    while not (tally.ends or tally.lost):
        await asyncio.sleep(0.001)


@asynccontextmanager
async def _beside(clients: Sequence[Callable[[], Awaitable[str]]], ends: Counter[str]) -> AsyncIterator[None]:
    """Run the clients at fault beside the block, and count how they ended."""

    async def run(client: Callable[[], Awaitable[str]]) -> None:
        ends[await client()] += 1

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(run(client))
        yield


async def _recover(address: Address) -> float | None:
    """Return the seconds until a new request is answered; None: not for so long that nobody waits any more."""
    started = time.monotonic()
    while await Tally().send(address) != "200":
        if time.monotonic() - started > PATIENCE_S:
            return None
        await asyncio.sleep(_PROBE_EVERY_S)
    return time.monotonic() - started


async def _trickle(*, begin: bytes, rest: bytes, address: Address, seconds: float) -> str:
    """Send `begin`, then byte by byte of `rest`, for some seconds; return the server's status or who closed the connection."""
    with suppress(ConnectionError):
        async with connection(address) as (reader, writer):
            writer.write(begin)
            answer = asyncio.create_task(reader.read(64))
            pause = max(0.25, seconds / 20)
            for position in range(max(1, int(seconds / pause))):
                writer.write(rest[position : position + 1])
                done, _ = await asyncio.wait([answer], timeout=pause)
                if done:
                    return _status(answer.result())
            answer.cancel()
            return "still open"
    return "closed by the server"


async def _leave(address: Address, part: bytes) -> str:
    """Send part of a request, or all of it, and close the connection at once."""
    with suppress(ConnectionError):
        async with connection(address) as (_, writer):
            writer.write(part)
            await writer.drain()
    return "hung up"


def _status(answer: bytes) -> str:
    return answer.split()[1].decode() if answer.startswith(b"HTTP/") else "closed by the server"
