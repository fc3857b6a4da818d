"""One run over images, from sources to answers and their manifest, on any executor."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain

from tqdm import tqdm

from scripts.bulk.executors.base import Executor
from scripts.bulk.images import QUARANTINED, UNANSWERED, ImageResult, ImageTask
from scripts.bulk.manifest import ManifestWriter
from scripts.bulk.plan import Plan, Refused, Skipped
from scripts.bulk.run import Finished, Quarantined, run_tasks
from scripts.bulk.summary import Tally
from scripts.errors import UserError
from scripts.progress import progress

#: Consecutive images that may fail for reasons not in the image before the run ends.
_MAX_CONSECUTIVE_UNANSWERED = 100


class NothingAnswered(UserError):
    """One image after another failed for a reason that is not in the image."""


@dataclass
class ImageRun:
    """A run over images."""

    plan: Plan
    executor: Executor
    #: Prepares a process, as `work.SegmentImages` does.
    prepare: Callable[[], Callable[[ImageTask], ImageResult]]
    manifest: ManifestWriter

    def __post_init__(self) -> None:
        self.tally = Tally()
        self._consecutive_unanswered = 0
        self._bar: tqdm[Finished[ImageTask, ImageResult] | Quarantined[ImageTask]] | None = None

    def run(self) -> Tally:
        """Segment the images; Ctrl-C ends the run early, as does an error that would affect every further image.

        Raises:
            UserError: such an error, raised after the manifest is written.
        """
        start = time.monotonic()
        try:
            self._run()
        except KeyboardInterrupt:
            self.tally.interrupted, self.tally.end_reason = True, "interrupted; the same command continues from here"
        except UserError as error:
            if not self.tally.counts:
                raise
            self.tally.end_reason = f"{error}; the same command continues from here"
        finally:
            self.manifest.flush()
            self.tally.seconds = time.monotonic() - start
        return self.tally

    def _run(self) -> None:
        tasks = self._tasks()
        first = next(tasks, None)
        if first is None:
            return  # Nothing is left to do, so no process is started.
        with closing(run_tasks(self.executor, self.prepare, chain((first,), tasks))) as outcomes:
            self._bar = progress(outcomes, "segmenting")
            self._count_in_background()
            for outcome in self._bar:
                self._handle_outcome(outcome)

    def _tasks(self) -> Iterator[ImageTask]:
        for step in self.plan.steps():
            if isinstance(step, ImageTask):
                yield step
            elif isinstance(step, Skipped):
                self.tally.skipped += 1
                self.tally.failed_before += step.has_failed
                self._skip_in_bar()
            elif isinstance(step, Refused):
                self._record(step.task, step.result, 0)
                self._skip_in_bar()

    def _handle_outcome(self, outcome: Finished[ImageTask, ImageResult] | Quarantined[ImageTask]) -> None:
        if isinstance(outcome, Quarantined):
            reason = f"its process was {outcome.reason}" if outcome.reason.startswith("killed") else outcome.reason
            reason = f"{reason}, {outcome.attempts} times"
            result = ImageResult(QUARANTINED, outcome.task.version, "ProcessLost", reason)
        else:
            result = outcome.result
        self._record(outcome.task, result, outcome.attempts)
        self._consecutive_unanswered = self._consecutive_unanswered + 1 if result.status == UNANSWERED else 0
        if self._consecutive_unanswered == _MAX_CONSECUTIVE_UNANSWERED:
            raise NothingAnswered(f"{_MAX_CONSECUTIVE_UNANSWERED} images in a row have no answer; the last: {result.error}")

    def _record(self, task: ImageTask, result: ImageResult, attempts: int) -> None:
        self.tally.add(task, result)
        self.manifest.add(task, result, attempts)
        if self._bar is not None and self.tally.failed:
            self._bar.set_postfix(failed=self.tally.failed, refresh=False)

    def _skip_in_bar(self) -> None:
        """Advance the bar past a skipped image without affecting its rate."""
        if self._bar is not None and not self._bar.disable:
            self._bar.n += 1
            self._bar.initial += 1
            self._bar.last_print_n += 1

    def _count_in_background(self) -> None:
        """Count the images in a second walk over the sources, and set the bar's total."""
        bar = self._bar
        if bar is None or bar.disable:
            return
        bar.n = bar.initial = bar.last_print_n = self.tally.skipped

        def count() -> None:
            with suppress(Exception):  # The run itself reports errors in a source.
                bar.total = sum(source.count() for source in self.plan.sources)

        threading.Thread(target=count, name="count", daemon=True).start()
