"""Apply a function to many items concurrently."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_unordered(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """Yield the result of `function` for each item as it completes, in any order; its exceptions are re-raised.

    At most `jobs` items are in progress, or done and not yet consumed, so `items` may be endless. The threads are daemons: the
    standard library's executors join theirs, which after Ctrl-C could mean minutes of waiting for a server.
    """
    todo: SimpleQueue[Item | None] = SimpleQueue()
    done: SimpleQueue[Future[Result]] = SimpleQueue()

    def work() -> None:
        while (item := todo.get()) is not None:
            future: Future[Result] = Future()
            try:
                future.set_result(function(item))
            except BaseException as error:
                future.set_exception(error)
            done.put(future)

    remaining = iter(items)
    in_progress = 0
    for _ in range(jobs):
        Thread(target=work, daemon=True).start()
    try:
        for item in islice(remaining, jobs):
            todo.put(item)
            in_progress += 1
        while in_progress:
            result = done.get().result()
            in_progress -= 1
            for item in islice(remaining, 1):
                todo.put(item)
                in_progress += 1
            yield result
    finally:
        for _ in range(jobs):
            todo.put(None)


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    """Yield the result of `function` for each item, in order; at most `2 * jobs` items are taken ahead."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
