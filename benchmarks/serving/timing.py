"""Repeated measurements: how often, and what is told of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pace:
    """How long something is repeated in one round: so many times at least, and so many seconds."""

    least: int
    seconds: float = 0.0

    def over(self, done: int, begun: float) -> bool:
        """Whether that is enough, `begun` being what time.perf_counter() said."""
        return done >= self.least and time.perf_counter() - begun >= self.seconds


@dataclass(frozen=True)
class Spread:
    """What is told of many measurements of one thing, in the unit of their values."""

    count: int
    median: float
    p95: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Raises ValueError where there are none."""
        found = np.fromiter(values, np.float64)
        if not found.size:
            raise ValueError("nothing was measured")
        median, p95 = np.percentile(found, (50, 95))
        return cls(found.size, float(median), float(p95), float(found.min()), float(found.max()))


def seconds_of(run: Callable[[], Any], pace: Pace) -> list[float]:
    """Seconds of each repetition of `run`, one after the other."""
    taken: list[float] = []
    begun = time.perf_counter()
    while not pace.over(len(taken), begun):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken
