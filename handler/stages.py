"""Time the stages of a request."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Receives the name of a stage and its seconds, from any thread.
Observer = Callable[[str, float], None]


def ignore(stage: str, seconds: float) -> None:
    """No-op observer."""


@contextmanager
def timed(stage: str, observe: Observer) -> Iterator[None]:
    """Report to `observe` how long the block took, unless it raises."""
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)
