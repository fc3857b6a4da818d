"""How long the stages of a request take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with a stage's name and its seconds, by any thread.
Observer = Callable[[str, float], None]


def ignore(stage: str, seconds: float) -> None:
    """For whom it does not concern."""


@contextmanager
def timed(stage: str, observe: Observer) -> Iterator[None]:
    """Tell `observe` how long the block took, if it ends well."""
    start = time.perf_counter()
    yield
    observe(stage, time.perf_counter() - start)
