"""Time the stages of a request."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Receives a stage's name and duration in seconds, from any thread.
Observer = Callable[[str, float], None]


def ignore(stage: str, seconds: float) -> None:
    """No-op observer."""


@contextmanager
def timed(stage: str, observe: Observer) -> Iterator[None]:
    """Report the duration of the block to `observe`, unless it raises."""
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)
