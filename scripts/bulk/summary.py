"""Count the results, and summarise them at the end."""

import sys
from collections import Counter
from dataclasses import dataclass, field

from scripts.bulk.images import DONE, FAILED, QUARANTINED, UNANSWERED, ImageResult, ImageTask

_FAILURES_SHOWN = 20


@dataclass
class Tally:
    """Counts of a run so far."""

    #: Images by status.
    counts: Counter[str] = field(default_factory=Counter)
    #: Number finished by an earlier run, and how many of these have no answer.
    skipped: int = 0
    failed_before: int = 0
    #: The first failures, as lines.
    failures: list[str] = field(default_factory=list)
    #: Seconds by stage, over all processes.
    stages: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    #: Why the run ended early, if it did.
    end_reason: str = ""
    interrupted: bool = False

    def add(self, task: ImageTask, result: ImageResult) -> None:
        """Count an image."""
        self.counts[result.status] += 1
        for stage, seconds in result.seconds.items():
            self.stages[stage] += seconds  # type: ignore[assignment]
        if result.status != DONE and len(self.failures) < _FAILURES_SHOWN:
            text = result.error.removeprefix(f"{task.path}: ")  # Read errors already begin with the path.
            self.failures.append(f"{task.path}: {text}")

    @property
    def done(self) -> int:
        return self.counts[DONE]

    @property
    def failed(self) -> int:
        """Number of images in this run that have no answer."""
        return self.counts.total() - self.done

    def print_failures(self, manifest: str) -> None:
        """List the first failures on standard error."""
        for line in self.failures:
            print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
        if self.failed > len(self.failures):
            print(f"and {self.failed - len(self.failures):,} more, listed in {manifest}", file=sys.stderr)
        if self.failed_before:
            print(f"{self.failed_before:,} failed before; --retry-failed tries them again", file=sys.stderr)

    def __str__(self) -> str:
        rate = f", {self.done / self.seconds:.1f} images/s" if self.done and self.seconds else ""
        counts = [f"{self.done:,} done", f"{self.skipped:,} skipped (done before)", f"{self.counts[FAILED]:,} failed"]
        counts += [f"{self.counts[status]:,} {status}" for status in (QUARANTINED, UNANSWERED) if self.counts[status]]
        return f"{', '.join(counts)}; {self.seconds:.1f} s{rate}{self._stages()}"

    def _stages(self) -> str:
        if not self.done:
            return ""
        milliseconds = ", ".join(f"{name} {1000 * total / self.counts.total():.1f}" for name, total in self.stages.items())
        return f"\nms an image: {milliseconds}"
