"""The queue of requests that wait for a worker: its limit, deadlines and `Retry-After`."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.servers.asgi.errors import DeadlineExceeded, ModelNotReady, QueueFull, WorkerDied
from handler.servers.asgi.messages import Answer, HttpRequest

#: A request whose worker died is tried once more.
_MOST_ATTEMPTS = 2
#: The weight of the newest answer in the moving average of seconds per answer.
_NEWEST = 0.2
_LONGEST_RETRY_AFTER = 120
#: The most spare requests (for shadows) that may wait; they do not count towards the queue's limit.
_MOST_SPARE = 8


class ClientGone(Exception):
    """The client hung up before its answer was ready."""


@dataclass(eq=False)
class Ticket:
    """A request on its way to a worker and back."""

    request: HttpRequest
    #: By `time.monotonic`.
    deadline: float
    #: Done when the request is answered or abandoned.
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    queued_at: float = field(default_factory=time.monotonic)
    #: When a worker took it, or None while it waits.
    started_at: float | None = None
    #: Workers that died while running it.
    deaths: int = 0
    #: Whether no client waits for its answer: all others go first, and it is tried only once.
    is_spare: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died while running it, so that it must run alone."""
        return self.deaths > 0


class QueueObserver:
    """Observer of a queue's requests; this base class does nothing."""

    def take(self, tickets: Sequence[Ticket]) -> None:
        """Called when a worker takes these requests as one batch."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Called when a worker has answered a batch."""

    def restart(self) -> None:
        """Called when a worker is started to replace one that ended."""


class RequestQueue:
    """The waiting requests for one model, first come, first served. Used from one event loop."""

    def __init__(self, most: int, timeout: float) -> None:
        """Create an empty queue.

        Args:
            most: the most requests that may wait.
            timeout: seconds from a request's arrival to its deadline.
        """
        self._most = most
        self._timeout = timeout
        self._waiting: deque[Ticket] = deque()
        self._spare: deque[Ticket] = deque()
        self._arrival = asyncio.Event()
        self._seconds_per_answer = 1.0
        self._answered = 0
        #: Requests that the workers can answer at the same time.
        self.capacity = 0
        #: Requests that workers hold.
        self.running = 0
        #: Why requests are refused at the moment, or None if they are accepted.
        self.closed: ModelNotReady | None = None
        self.observer = QueueObserver()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def most(self) -> int:
        return self._most

    def check_room(self) -> None:
        """Raise if the queue cannot accept another request.

        Raises:
            QueueFull: the queue is full.
            ModelNotReady: no worker can be started.
        """
        if self.closed is not None:
            raise self.closed
        if len(self._waiting) >= self._most:
            again = self.retry_after()
            raise QueueFull(f"{len(self._waiting):,} requests wait, which is the limit; try again in {again} s", again)

    def put(self, request: HttpRequest) -> Ticket:
        """Enqueue a request.

        Raises:
            QueueFull: the queue is full.
            ModelNotReady: no worker can be started.
        """
        self.check_room()
        ticket = Ticket(request, time.monotonic() + self._timeout)
        self._waiting.append(ticket)
        self._arrival.set()
        return ticket

    def put_spare(self, request: HttpRequest) -> Ticket:
        """Enqueue a spare request, which is answered only while no other request waits.

        Raises:
            QueueFull: other requests wait, or the most spare requests already do.
            ModelNotReady: no worker can be started.
        """
        self.check_room()
        if self._waiting or len(self._spare) >= _MOST_SPARE:
            raise QueueFull("other requests wait", self.retry_after())
        ticket = Ticket(request, time.monotonic() + self._timeout, is_spare=True)
        self._spare.append(ticket)
        self._arrival.set()
        return ticket

    async def take(self, most: int) -> list[Ticket]:
        """Wait for requests and return up to `most`; a spare request, or one whose worker has died, is returned alone."""
        while not (self._waiting or self._spare):
            self._arrival.clear()
            await self._arrival.wait()
        tickets = [self._waiting.popleft() if self._waiting else self._spare.popleft()]
        alone = tickets[0].is_suspect or tickets[0].is_spare
        while self._waiting and len(tickets) < most and not (alone or self._waiting[0].is_suspect):
            tickets.append(self._waiting.popleft())
        for ticket in tickets:
            ticket.started_at = time.monotonic()
        self.running += len(tickets)
        self.observer.take(tickets)
        return tickets

    def give_back(self, ticket: Ticket, *, died: bool) -> None:
        """Return a request that a worker did not answer to the head of the queue.

        Args:
            ticket: the request.
            died: whether the worker died while running it, which counts as an attempt.
        """
        self.running -= 1
        ticket.deaths += died
        if ticket.answer.done():
            return
        if ticket.deaths >= _MOST_ATTEMPTS or ticket.is_spare:
            ticket.answer.set_exception(WorkerDied(_TRIED_TWICE.format(ticket.request.id)))
            return
        ticket.started_at = None
        self._waiting.appendleft(ticket)
        self._arrival.set()

    def finish(self, ticket: Ticket, answer: Answer, seconds: float) -> None:
        """Answer a request that took `seconds` of a worker's time."""
        self.running -= 1
        self._answered += 1
        weight = max(_NEWEST, 1 / self._answered)
        self._seconds_per_answer += weight * (seconds - self._seconds_per_answer)
        if not ticket.answer.done():
            ticket.answer.set_result(answer)

    async def wait(self, ticket: Ticket, disconnection: Coroutine[Any, Any, None]) -> Answer:
        """Wait for the answer to a request and return it.

        Args:
            ticket: the request, as returned by `put`.
            disconnection: returns when the client hangs up.

        Raises:
            DeadlineExceeded: the answer is not ready in time.
            ClientGone: the client has hung up.
            WorkerDied: two workers died while running it.
            ModelNotReady: no worker can be started.
        """
        hanging_up = asyncio.ensure_future(disconnection)
        try:
            left = max(0.0, ticket.deadline - time.monotonic())
            either: list[asyncio.Future[Any]] = [ticket.answer, hanging_up]
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if ticket.answer.done():
                return ticket.answer.result()
            if hanging_up.done():
                raise ClientGone
            where = "waiting for its turn" if ticket.started_at is None else "running"
            raise DeadlineExceeded(f"no answer within {self._timeout:g} s; the request was still {where}")
        finally:
            hanging_up.cancel()
            self._forget(ticket)

    def refuse_all(self, error: ModelNotReady) -> None:
        """Refuse waiting and new requests until `closed` is None again."""
        self.closed = error
        for ticket in (*self._waiting, *self._spare):
            if not ticket.answer.done():
                ticket.answer.set_exception(error)
        self._waiting.clear()
        self._spare.clear()

    def retry_after(self) -> int:
        """Return the seconds after which the queue should have room again."""
        ahead = len(self._waiting) + self.running
        seconds = ahead * self._seconds_per_answer / max(1, self.capacity)
        return min(max(1, math.ceil(seconds)), _LONGEST_RETRY_AFTER)

    def _forget(self, ticket: Ticket) -> None:
        """Abandon a request whose answer is no longer needed."""
        if ticket.answer.done():
            return
        ticket.answer.cancel()
        if ticket.started_at is None:
            (self._spare if ticket.is_spare else self._waiting).remove(ticket)


_TRIED_TWICE = "the server failed to answer this request; its log has the reason under request {}"
