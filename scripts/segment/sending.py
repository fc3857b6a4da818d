"""Send photographs, keep answers."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from handler.answers import FORMATS
from scripts.client import AnswerError, Client
from scripts.progress import progress
from scripts.segment.answer_folder import AnswerFolder
from scripts.segment.concurrency import in_flight
from scripts.segment.output_paths import Task


@dataclass
class Tally:
    """How a run went, up to now."""

    #: Answered before it.
    skipped: int = 0
    done: int = 0
    #: Why, by photograph.
    failed: dict[Path, str] = field(default_factory=dict)
    #: Why it ended before its end, if it did.
    ended: str = ""
    interrupted: bool = False
    seconds: float = 0

    def __str__(self) -> str:
        rate = f", {self.done / self.seconds:.1f} images/s" if self.done else ""
        counts = f"{self.done:,} done, {self.skipped:,} skipped (done before), {len(self.failed):,} failed"
        return f"{counts}; {self.seconds:.1f} s{rate}"


def run(client: Client, tasks: Sequence[Task], folder: AnswerFolder, *, jobs: int, overwrite: bool) -> Tally:
    """Ask for every answer that `folder` lacks, or for all, `jobs` at once; a bar on a terminal shows how far it is.

    Ctrl-C ends it, and so does what every further photograph would meet as well; what was done is kept.

    Raises:
        ServerUnreachable: there is nothing to ask.
        SegmentingError: an answer cannot be written.
    """
    pending = tasks if overwrite else [task for task in tasks if not task.answer.exists()]
    tally = Tally(skipped=len(tasks) - len(pending))
    if not pending:
        return tally
    client.require_server()
    began = time.monotonic()
    try:
        _answer_all(client, pending, folder, jobs, tally)
    except KeyboardInterrupt:
        tally.interrupted, tally.ended = True, "interrupted; the same command goes on from here"
    finally:
        tally.seconds = time.monotonic() - began
    return tally


def _answer_all(client: Client, pending: Sequence[Task], folder: AnswerFolder, jobs: int, tally: Tally) -> None:
    options = {**folder.conditions.options, "format": folder.conditions.format}
    content_type = FORMATS[folder.conditions.format].content_type

    def ask(task: Task) -> tuple[Task, bytes | AnswerError]:
        try:
            return task, client.ask(task.photograph.path.read_bytes(), options, content_type)
        except OSError as error:
            return task, AnswerError(f"cannot be read: {error.strerror}")
        except AnswerError as error:
            return task, error

    # Answers are written in this thread, the only one that Ctrl-C interrupts and that can clean up.
    with closing(in_flight(ask, pending, jobs)) as answers:
        bar = progress(answers, "segmenting", total=tally.skipped + len(pending), done=tally.skipped)
        for task, answer in bar:
            if isinstance(answer, bytes):
                folder.save(task, answer)
                tally.done += 1
            elif answer.affects_every_image:
                tally.ended = f"{answer}; nothing more was sent"
                return
            else:
                tally.failed[task.photograph.path] = str(answer)
                bar.set_postfix(failed=len(tally.failed), refresh=False)
