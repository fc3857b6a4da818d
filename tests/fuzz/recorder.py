"""Runs a check on many inputs, within a time and a memory for each, and keeps the input that fails."""

import hashlib
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

#: Seconds. An input takes some milliseconds; a busy machine may be slow, but not a thousand times.
LONGEST = 10.0
#: Bytes that an input may take. The images are small, and the limits that are set are too.
MOST_MEMORY = 400 << 20
#: Examples that hypothesis draws from one seed: it remembers all of them.
_ROUND = 2_000
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Fuzz:
    """How much is tried, from which seed, and where inputs that fail are kept."""

    inputs: int
    seed: int
    folder: Path

    def run(self, share: float, strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        """Check `share` of the inputs, drawn from `strategy`.

        An input that fails is shrunk and written into `folder`; one that ends the process is left there as `running`.
        """
        remaining, turn = math.ceil(self.inputs * share), 0
        watched = _Watched(check, self.folder / "running")
        while remaining > 0:
            try:
                _round(strategy, watched, min(remaining, _ROUND), self.seed * 1_000_003 + turn)
            except Exception as error:
                raise AssertionError(
                    f"seed {self.seed}, round {turn}: the input is kept as {watched.keep(self.folder)}"
                ) from error
            remaining, turn = remaining - _ROUND, turn + 1
        watched.running.unlink(missing_ok=True)


def _round(strategy: SearchStrategy[Any], check: Callable[[Any], None], count: int, start: int) -> None:
    untimed = settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))

    @seed(start)
    @untimed
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    run()


class _Watched:
    """A check within a time and a memory, whose input is on disk while it runs."""

    def __init__(self, check: Callable[[Any], None], running: Path) -> None:
        running.parent.mkdir(parents=True, exist_ok=True)
        self.running = running
        self._check = check

    def __call__(self, value: Any) -> None:
        self.running.write_bytes(_written(value))
        _forget_peak()
        before, start = _peak_bytes(), time.perf_counter()
        self._check(value)
        seconds, grown = time.perf_counter() - start, _peak_bytes() - before
        assert seconds < LONGEST, f"it took {seconds:.1f} s"
        assert grown < MOST_MEMORY, f"it took {grown:,} bytes"

    def keep(self, folder: Path) -> Path:
        """Name the input that ran last by its hash."""
        content = self.running.read_bytes()
        return self.running.rename(folder / hashlib.sha256(content).hexdigest()[:16])


def _written(value: Any) -> bytes:
    """A file as it is, anything else as Python writes it."""
    return value if isinstance(value, bytes) else repr(value).encode("utf-8", "backslashreplace")


def _forget_peak() -> None:
    """Begin to measure anew (proc(5)); elsewhere than on Linux, only what goes beyond all inputs so far is seen."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
