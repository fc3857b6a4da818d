"""Requests worked on side by side, each from its bytes to its answer in a lane of its own."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

from handler.network.engines import Engine

Work = TypeVar("Work")
Done = TypeVar("Done")


class Lanes(Generic[Work, Done]):
    """Threads, each of which has one of several engines to itself."""

    def __init__(self, engines: Sequence[Engine], do: Callable[[Work, Engine], Done]) -> None:
        self._do = do
        self._idle: SimpleQueue[Engine] = SimpleQueue()
        for engine in engines:
            self._idle.put(engine)
        self._threads = ThreadPoolExecutor(len(engines), thread_name_prefix="lane")

    def map(self, work: Sequence[Work]) -> list[Done]:
        """What is done of each piece of work, in order; it is begun in order too."""
        return list(self._threads.map(self._in_a_lane, work))

    def _in_a_lane(self, work: Work) -> Done:
        engine = self._idle.get()
        try:
            return self._do(work, engine)
        finally:
            self._idle.put(engine)


class PixelBudget:
    """So many pixels may be held at once; whoever is alone may hold more."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._held = 0
        self._released = threading.Condition()

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Gives what takes pixels, waiting until there are enough; they are given back when the block ends."""
        mine = 0

        def take(pixels: int) -> None:
            nonlocal mine
            with self._released:
                self._released.wait_for(lambda: self._held == 0 or self._held + pixels <= self._pixels)
                self._held += pixels
                mine += pixels

        try:
            yield take
        finally:
            with self._released:
                self._held -= mine
                self._released.notify_all()
