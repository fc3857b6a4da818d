"""Requests that wait for a worker: how many, how long, and when to come again."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.servers.asgi.errors import DeadlineExceeded, ModelNotReady, QueueFull, WorkerDied
from handler.servers.asgi.messages import Answer, HttpRequest

#: A request that a worker took with it when it died is tried once more.
_MOST_ATTEMPTS = 2
#: The weight of the newest answer in the mean of the seconds that an answer takes.
_NEWEST = 0.2
_LONGEST_RETRY_AFTER = 120
#: Requests for nobody's sake that may wait; they do not count among others.
_MOST_SPARE = 8


class ClientGone(Exception):
    """The client hung up before its answer was there."""


@dataclass(eq=False)
class Ticket:
    """A request on its way to a worker and back."""

    request: HttpRequest
    #: By `time.monotonic`.
    deadline: float
    #: Done when the request is answered, or no longer wanted.
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    queued_at: float = field(default_factory=time.monotonic)
    #: When a worker took it; None: it waits.
    started_at: float | None = None
    #: Workers that died with it.
    deaths: int = 0
    #: Nobody waits for its answer: all others go first, and it is tried once.
    is_spare: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether a worker has died with it, so that it must run alone."""
        return self.deaths > 0


class QueueObserver:
    """Is told what happens to the requests of a queue; this one forgets it."""

    def take(self, tickets: Sequence[Ticket]) -> None:
        """A worker takes these requests together."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """It has answered such a batch."""

    def restart(self) -> None:
        """A worker is started in the place of another that ended."""


class RequestQueue:
    """The requests for one model that wait, first come, first served. Used from one event loop."""

    def __init__(self, most: int, timeout: float) -> None:
        """Start empty.

        Args:
            most: requests that may wait.
            timeout: seconds from a request's arrival to its answer.
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
        #: Why no request is taken at the moment; None: they are.
        self.closed: ModelNotReady | None = None
        self.observer = QueueObserver()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def most(self) -> int:
        return self._most

    def check_room(self) -> None:
        """Refuse one more request if it could not wait.

        Raises:
            QueueFull: as many wait as may.
            ModelNotReady: no worker can be started.
        """
        if self.closed is not None:
            raise self.closed
        if len(self._waiting) >= self._most:
            again = self.retry_after()
            raise QueueFull(f"{len(self._waiting):,} requests wait, which is the limit; try again in {again} s", again)

    def put(self, request: HttpRequest) -> Ticket:
        """Let a request wait.

        Raises:
            QueueFull: as many wait as may.
            ModelNotReady: no worker can be started.
        """
        self.check_room()
        ticket = Ticket(request, time.monotonic() + self._timeout)
        self._waiting.append(ticket)
        self._arrival.set()
        return ticket

    def put_spare(self, request: HttpRequest) -> Ticket:
        """Let a request wait that is only to be answered while no other waits.

        Raises:
            QueueFull: others wait, or as many of its kind as may.
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
        """Wait for requests and return up to `most` of them; a spare one, or one with which a worker has died, comes alone."""
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
        """Let a request that a worker did not answer wait for another one, before all others.

        Args:
            died: the worker died while it held the request, which counts as an attempt.
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
        """Answer a request; its share of the worker's time was `seconds`."""
        self.running -= 1
        self._answered += 1
        weight = max(_NEWEST, 1 / self._answered)
        self._seconds_per_answer += weight * (seconds - self._seconds_per_answer)
        if not ticket.answer.done():
            ticket.answer.set_result(answer)

    async def wait(self, ticket: Ticket, disconnection: Coroutine[Any, Any, None]) -> Answer:
        """Return the answer to a request.

        Args:
            ticket: what `put` returned.
            disconnection: returns when the client hangs up.

        Raises:
            DeadlineExceeded: it is not there in time.
            ClientGone: the client has hung up.
            WorkerDied: two workers died with it.
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
        """Refuse what waits and what comes until `closed` is None again."""
        self.closed = error
        for ticket in (*self._waiting, *self._spare):
            if not ticket.answer.done():
                ticket.answer.set_exception(error)
        self._waiting.clear()
        self._spare.clear()

    def retry_after(self) -> int:
        """Return the seconds after which a request would probably find room."""
        ahead = len(self._waiting) + self.running
        seconds = ahead * self._seconds_per_answer / max(1, self.capacity)
        return min(max(1, math.ceil(seconds)), _LONGEST_RETRY_AFTER)

    def _forget(self, ticket: Ticket) -> None:
        """Let nobody work for a request whose answer is no longer wanted."""
        if ticket.answer.done():
            return
        ticket.answer.cancel()
        if ticket.started_at is None:
            (self._spare if ticket.is_spare else self._waiting).remove(ticket)


_TRIED_TWICE = "the server failed to answer this request; its log has the reason under request {}"
