"""Run a task whenever a server is idle."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class IdleTask:
    """Calls `task` in a separate thread when work has paused, and from time to time while it continues without a pause."""

    def __init__(self, task: Callable[[], None], *, quiet_s: float = 1.0, max_delay_s: float = 10.0) -> None:
        """Prepare the task; nothing runs before the first work.

        Args:
            task: the function to call.
            quiet_s: seconds without work before it is called.
            max_delay_s: seconds of work without such a pause after which it is called anyway.
        """
        self._task = task
        self._quiet_s = quiet_s
        self._max_delay_s = max_delay_s
        self._lock = threading.Lock()
        self._running = 0
        self._finished = 0
        self._is_watching = False

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count the block as work; several threads may work at once."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._finished += 1
                must_watch, self._is_watching = not self._is_watching, True
            if must_watch:
                threading.Thread(target=self._watch, name="idle", daemon=True).start()

    def _watch(self) -> None:
        deadline = time.monotonic() + self._max_delay_s
        while not self._stays_idle() and time.monotonic() < deadline:
            pass
        with self._lock:
            self._is_watching = False
        self._task()

    def _stays_idle(self) -> bool:
        finished = self._finished
        time.sleep(self._quiet_s)
        return self._finished == finished and self._running == 0
