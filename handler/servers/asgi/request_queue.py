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
_MAX_ATTEMPTS = 2
#: The weight of the newest answer in the moving average of seconds per answer.
_NEWEST_WEIGHT = 0.2
_MAX_RETRY_AFTER = 120
#: The most low-priority requests (for shadows) that may wait; they do not count towards the queue's limit.
_MAX_LOW_PRIORITY = 8


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
    is_low_priority: bool = False

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

    def __init__(self, max_waiting: int, timeout: float) -> None:
        """Create an empty queue.

        Args:
            max_waiting: the most requests that may wait.
            timeout: seconds from a request's arrival to its deadline.
        """
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._waiting: deque[Ticket] = deque()
        self._low_priority: deque[Ticket] = deque()
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
    def max_waiting(self) -> int:
        return self._max_waiting

    def check_room(self) -> None:
        """Raise if the queue cannot accept another request.

        Raises:
            QueueFull: the queue is full.
            ModelNotReady: no worker can be started.
        """
        if self.closed is not None:
            raise self.closed
        if len(self._waiting) >= self._max_waiting:
            retry_after = self.retry_after()
            message = f"{len(self._waiting):,} requests wait, which is the limit; try again in {retry_after} s"
            raise QueueFull(message, retry_after)

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

    def put_low_priority(self, request: HttpRequest) -> Ticket:
        """Enqueue a low-priority request, which is answered only while no other request waits.

        Raises:
            QueueFull: other requests wait, or the most low-priority requests already do.
            ModelNotReady: no worker can be started.
        """
        self.check_room()
        if self._waiting or len(self._low_priority) >= _MAX_LOW_PRIORITY:
            raise QueueFull("other requests wait", self.retry_after())
        ticket = Ticket(request, time.monotonic() + self._timeout, is_low_priority=True)
        self._low_priority.append(ticket)
        self._arrival.set()
        return ticket

    async def take(self, max_requests: int) -> list[Ticket]:
        """Wait for requests and return up to `max_requests`; a low-priority request, or one whose worker died, comes alone."""
        while not (self._waiting or self._low_priority):
            self._arrival.clear()
            await self._arrival.wait()
        tickets = [self._waiting.popleft() if self._waiting else self._low_priority.popleft()]
        is_single = tickets[0].is_suspect or tickets[0].is_low_priority
        while self._waiting and len(tickets) < max_requests and not (is_single or self._waiting[0].is_suspect):
            tickets.append(self._waiting.popleft())
        for ticket in tickets:
            ticket.started_at = time.monotonic()
        self.running += len(tickets)
        self.observer.take(tickets)
        return tickets

    def requeue(self, ticket: Ticket, *, died: bool) -> None:
        """Return a request that a worker did not answer to the head of the queue.

        Args:
            ticket: the request.
            died: whether the worker died while running it, which counts as an attempt.
        """
        self.running -= 1
        ticket.deaths += died
        if ticket.answer.done():
            return
        if ticket.deaths >= _MAX_ATTEMPTS or ticket.is_low_priority:
            ticket.answer.set_exception(WorkerDied(_FAILED_TWICE.format(ticket.request.id)))
            return
        ticket.started_at = None
        self._waiting.appendleft(ticket)
        self._arrival.set()

    def finish(self, ticket: Ticket, answer: Answer, seconds: float) -> None:
        """Answer a request that took `seconds` of a worker's time."""
        self.running -= 1
        self._answered += 1
        weight = max(_NEWEST_WEIGHT, 1 / self._answered)
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
        disconnected = asyncio.ensure_future(disconnection)
        try:
            remaining_s = max(0.0, ticket.deadline - time.monotonic())
            futures: list[asyncio.Future[Any]] = [ticket.answer, disconnected]
            await asyncio.wait(futures, timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)
            if ticket.answer.done():
                return ticket.answer.result()
            if disconnected.done():
                raise ClientGone
            state = "waiting for its turn" if ticket.started_at is None else "running"
            raise DeadlineExceeded(f"no answer within {self._timeout:g} s; the request was still {state}")
        finally:
            disconnected.cancel()
            self._abandon(ticket)

    def refuse_all(self, error: ModelNotReady) -> None:
        """Refuse waiting and new requests until `closed` is None again."""
        self.closed = error
        for ticket in (*self._waiting, *self._low_priority):
            if not ticket.answer.done():
                ticket.answer.set_exception(error)
        self._waiting.clear()
        self._low_priority.clear()

    def retry_after(self) -> int:
        """Return the seconds after which the queue should have room again."""
        ahead = len(self._waiting) + self.running
        seconds = ahead * self._seconds_per_answer / max(1, self.capacity)
        return min(max(1, math.ceil(seconds)), _MAX_RETRY_AFTER)

    def _abandon(self, ticket: Ticket) -> None:
        """Abandon a request whose answer is no longer needed."""
        if ticket.answer.done():
            return
        ticket.answer.cancel()
        if ticket.started_at is None:
            (self._low_priority if ticket.is_low_priority else self._waiting).remove(ticket)


_FAILED_TWICE = "the server failed to answer this request; its log has the reason under request {}"
