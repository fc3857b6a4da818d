"""Run a check on many inputs with limits on time and memory, and keep any input that fails."""

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

#: Processor time of one input; a few milliseconds are usual.
MAX_SECONDS = 10.0
#: Memory of one input. The images and the tests' limits are small.
MAX_BYTES = 400 << 20
#: The number of examples that hypothesis draws from one seed. It keeps all of them in memory.
_EXAMPLES_PER_ROUND = 2_000
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Fuzz:
    """The number of inputs, their seed, and the folder for failing inputs."""

    inputs: int
    seed: int
    folder: Path

    def run(self, share: float, strategy: SearchStrategy[Any], check: Callable[[Any], None]) -> None:
        """Check a `share` (0..1) of the inputs, drawn from `strategy`.

        An input that fails is shrunk and written into `folder`; an input that ends the process stays there as `running`.
        """
        remaining, round_number = math.ceil(self.inputs * share), 0
        watched_check = _WatchedCheck(check, self.folder / "running")
        while remaining > 0:
            try:
                _run_round(strategy, watched_check, min(remaining, _EXAMPLES_PER_ROUND), self.seed * 1_000_003 + round_number)
            except Exception as error:
                raise AssertionError(
                    f"seed {self.seed}, round {round_number}: the input is kept as {watched_check.keep(self.folder)}"
                ) from error
            remaining, round_number = remaining - _EXAMPLES_PER_ROUND, round_number + 1
        watched_check.running.unlink(missing_ok=True)


def _run_round(strategy: SearchStrategy[Any], check: Callable[[Any], None], count: int, seed_value: int) -> None:
    untimed = settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))

    @seed(seed_value)
    @untimed
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    run()


class _WatchedCheck:
    """A check with limits on time and memory, whose input is on disk while it runs."""

    def __init__(self, check: Callable[[Any], None], running: Path) -> None:
        running.parent.mkdir(parents=True, exist_ok=True)
        self.running = running
        self._check = check

    def __call__(self, value: Any) -> None:
        self.running.write_bytes(_serialize(value))
        _reset_peak()
        before, start = _peak_bytes(), time.process_time()
        self._check(value)
        seconds, growth = time.process_time() - start, _peak_bytes() - before
        assert seconds < MAX_SECONDS, f"{seconds:.1f} s of processor time"
        assert growth < MAX_BYTES, f"{growth:,} bytes"

    def keep(self, folder: Path) -> Path:
        """Rename the file of the input that ran last to its hash."""
        content = self.running.read_bytes()
        return self.running.rename(folder / hashlib.sha256(content).hexdigest()[:16])


def _serialize(value: Any) -> bytes:
    """Return a file unchanged, and the `repr` of anything else."""
    return value if isinstance(value, bytes) else repr(value).encode("utf-8", "backslashreplace")


def _reset_peak() -> None:
    """Reset the peak memory (proc(5)); only Linux can. Elsewhere the peak covers all inputs so far."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
