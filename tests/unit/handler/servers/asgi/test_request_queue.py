"""Requests that wait for a worker, and the error of a full queue."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from handler.servers.asgi.errors import DeadlineExceeded, ModelNotReady, QueueFull, WorkerDied
from handler.servers.asgi.messages import Answer, HttpRequest
from handler.servers.asgi.request_queue import ClientGone, RequestQueue

ANSWER = Answer(200, "text/plain", b"")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def request(name: str) -> HttpRequest:
    return HttpRequest(name, "predict")


async def never() -> None:
    await asyncio.Event().wait()


def test_retry_after_follows_queue_length_and_answer_time() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=6, timeout=60)
        queue.capacity = 2
        first = queue.put(request("first"))
        await queue.take(1)
        queue.finish(first, ANSWER, seconds=4.0)
        for number in range(6):
            queue.put(request(str(number)))
        await queue.take(1)
        await queue.take(1)
        queue.put(request("6"))
        queue.put(request("7"))

        with pytest.raises(QueueFull) as error:
            queue.put(request("8"))

        assert error.value.retry_after == 16  # Six wait and two run: eight answers of 4 s, two at a time.

    run(scenario())


def test_a_request_past_its_deadline_leaves_the_queue() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=2, timeout=0.01)
        ticket = queue.put(request("a"))

        with pytest.raises(DeadlineExceeded, match="waiting for its turn"):
            await queue.wait(ticket, never())

        assert len(queue) == 0

    run(scenario())


def test_a_client_that_hangs_up_leaves_the_queue() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=2, timeout=60)
        ticket = queue.put(request("a"))

        with pytest.raises(ClientGone):
            await queue.wait(ticket, asyncio.sleep(0))

        assert len(queue) == 0

    run(scenario())


def test_the_request_of_a_dead_worker_goes_first_and_alone() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=9, timeout=60)
        tickets = [queue.put(request(name)) for name in "abc"]
        (first,) = await queue.take(1)
        queue.requeue(first, died=True)

        assert await queue.take(3) == [tickets[0]]
        assert await queue.take(3) == tickets[1:]
        queue.requeue(first, died=True)
        with pytest.raises(WorkerDied, match="request a"):
            await queue.wait(first, never())

    run(scenario())


def test_a_request_that_was_not_sent_to_the_dead_worker_is_not_isolated() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=9, timeout=60)
        tickets = [queue.put(request(name)) for name in "ab"]
        (first,) = await queue.take(1)
        queue.requeue(first, died=False)

        assert await queue.take(2) == tickets

    run(scenario())


def test_waiting_requests_are_refused_if_no_worker_can_start() -> None:
    async def scenario() -> None:
        queue = RequestQueue(max_waiting=9, timeout=60)
        ticket = queue.put(request("a"))
        queue.refuse_all(ModelNotReady("broken", 7))

        with pytest.raises(ModelNotReady):
            await queue.wait(ticket, never())
        with pytest.raises(ModelNotReady):
            queue.put(request("b"))
        assert len(queue) == 0

    run(scenario())
