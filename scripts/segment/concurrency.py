"""Do the same to many things, several at once."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_flight(function: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Generator[Result, None, None]:
    """What `function` makes of each item, as it comes, not in their order; raises what it raises.

    No more than `jobs` items are under way, or done and not yet taken, at any time; so there may be any number of them.
    Whoever stops taking results waits for nothing: executors of the standard library join their threads at the end of the
    process, which after Ctrl-C may wait minutes for a server; these threads end with it.
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
    under_way = 0
    for _ in range(jobs):
        Thread(target=work, daemon=True).start()
    try:
        for item in islice(remaining, jobs):
            todo.put(item)
            under_way += 1
        while under_way:
            result = done.get().result()
            under_way -= 1
            for item in islice(remaining, 1):
                todo.put(item)
                under_way += 1
            yield result
    finally:
        for _ in range(jobs):
            todo.put(None)
