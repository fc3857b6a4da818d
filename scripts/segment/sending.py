"""Send photographs and keep the answers."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from handler.answers import FORMATS
from handler.option_types import ImageName
from scripts.client import AnswerError, Client
from scripts.progress import progress
from scripts.segment.answer_folder import AnswerFolder
from scripts.segment.concurrency import map_unordered
from scripts.segment.output_paths import Task


@dataclass
class Tally:
    """Counts of a run so far."""

    #: Number answered by an earlier run.
    skipped: int = 0
    done: int = 0
    #: Reasons for failures, by photograph.
    failed: dict[Path, str] = field(default_factory=dict)
    #: Why the run ended early, if it did.
    end_reason: str = ""
    interrupted: bool = False
    seconds: float = 0

    def __str__(self) -> str:
        rate = f", {self.done / self.seconds:.1f} images/s" if self.done else ""
        counts = f"{self.done:,} done, {self.skipped:,} skipped (done before), {len(self.failed):,} failed"
        return f"{counts}; {self.seconds:.1f} s{rate}"


def segment_all(client: Client, tasks: Sequence[Task], folder: AnswerFolder, *, jobs: int, overwrite: bool) -> Tally:
    """Request all answers, or only those that `folder` lacks, `jobs` at a time.

    Ctrl-C ends the run, as does an error that would affect every further photograph; answers received so far are kept.

    Raises:
        ServerUnreachable: nothing answers at the URL.
        SegmentingError: an answer cannot be written.
    """
    pending = tasks if overwrite else [task for task in tasks if not task.answer.exists()]
    tally = Tally(skipped=len(tasks) - len(pending))
    if not pending:
        return tally
    client.require_server()
    start = time.monotonic()
    try:
        _answer_all(client, pending, folder, jobs, tally)
    except KeyboardInterrupt:
        tally.interrupted, tally.end_reason = True, "interrupted; the same command continues from here"
    finally:
        tally.seconds = time.monotonic() - start
    return tally


def _answer_all(client: Client, pending: Sequence[Task], folder: AnswerFolder, jobs: int, tally: Tally) -> None:
    entry = FORMATS[folder.conditions.format]
    common_options = {**folder.conditions.options, "format": folder.conditions.format}

    def request_answer(task: Task) -> tuple[Task, bytes | AnswerError]:
        options = {**_name_option(task.photograph.path), **common_options} if entry.has_file_name else common_options
        try:
            return task, client.segment(task.photograph.path.read_bytes(), options, entry.content_type)
        except OSError as error:
            return task, AnswerError(f"cannot be read: {error.strerror}")
        except AnswerError as error:
            return task, error

    # Answers are written in this thread: Ctrl-C interrupts no other, and only this one can clean up.
    with closing(map_unordered(request_answer, pending, jobs)) as answers:
        bar = progress(answers, "segmenting", total=tally.skipped + len(pending), done=tally.skipped)
        for task, answer in bar:
            if isinstance(answer, bytes):
                folder.save(task, answer)
                tally.done += 1
            elif answer.affects_every_image:
                tally.end_reason = f"{answer}; nothing more was sent"
                return
            else:
                tally.failed[task.photograph.path] = str(answer)
                bar.set_postfix(failed=len(tally.failed), refresh=False)


def _name_option(photograph: Path) -> dict[str, str]:
    """Return the option that names the file in its annotations, if the server would accept the name."""
    try:
        return {"image_name": ImageName().read(photograph.name)}
    except ValueError:  # Not text, or with control characters.
        return {}
