"""Repeat measurements and summarize them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pace:
    """The minimum repetitions and seconds of one round of a measurement; a round ends once both are reached."""

    repetitions: int
    seconds: float = 0.0

    def done(self, repetitions: int, start: float) -> bool:
        """Return whether a round that began at `start`, by `time.perf_counter()`, is over."""
        return repetitions >= self.repetitions and time.perf_counter() - start >= self.seconds


@dataclass(frozen=True)
class Spread:
    """A summary of repeated measurements, in the unit of their values."""

    count: int
    median: float
    p95: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarize `values`.

        Raises:
            ValueError: `values` is empty.
        """
        array = np.fromiter(values, np.float64)
        if not array.size:
            raise ValueError("nothing was measured")
        median, p95 = np.percentile(array, (50, 95))
        return cls(array.size, float(median), float(p95), float(array.min()), float(array.max()))


def time_repetitions(run: Callable[[], Any], pace: Pace) -> list[float]:
    """Repeat `run` sequentially, and return the seconds of each repetition."""
    durations: list[float] = []
    start = time.perf_counter()
    while not pace.done(len(durations), start):
        repetition_start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - repetition_start)
    return durations
