"""Run a task whenever a server is idle."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class IdleTask:
    """Calls `task` in a separate thread when work has paused, and from time to time while it continues without a pause."""

    def __init__(self, task: Callable[[], None], *, rest_s: float = 1.0, at_latest_s: float = 10.0) -> None:
        """Prepare the task; nothing runs before the first work.

        Args:
            task: the function to call.
            rest_s: seconds without work before it is called.
            at_latest_s: seconds of work without such a pause after which it is called anyway.
        """
        self._task = task
        self._rest_s = rest_s
        self._at_latest_s = at_latest_s
        self._turn = threading.Lock()
        self._running = 0
        self._finished = 0
        self._is_watching = False

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count the block as work; several threads may work at once."""
        with self._turn:
            self._running += 1
        try:
            yield
        finally:
            with self._turn:
                self._running -= 1
                self._finished += 1
                must_watch, self._is_watching = not self._is_watching, True
            if must_watch:
                threading.Thread(target=self._watch, name="idle", daemon=True).start()

    def _watch(self) -> None:
        latest = time.monotonic() + self._at_latest_s
        while not self._rests() and time.monotonic() < latest:
            pass
        with self._turn:
            self._is_watching = False
        self._task()

    def _rests(self) -> bool:
        finished = self._finished
        time.sleep(self._rest_s)
        return self._finished == finished and self._running == 0
