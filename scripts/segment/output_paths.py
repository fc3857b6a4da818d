"""Decide where answers are written, before anything is sent."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.segment.errors import SegmentingError
from scripts.segment.file_names import CONDITIONS, CONTACT_SHEET, FAILED
from scripts.segment.inputs import Photograph

_COLLISIONS_SHOWN = 5


@dataclass(frozen=True)
class Task:
    """A photograph and the file for its answer."""

    photograph: Photograph
    answer: Path


def plan_answers(photographs: Sequence[Photograph], out: Path, suffix: str, *, keep_suffix: bool) -> list[Task]:
    """Plan the answer to `a/photo.jpg` as `a/photo.png`, or with `keep_suffix` as `a/photo.jpg.png`.

    Raises:
        SegmentingError: two answers would share a file, or one would overwrite a photograph or a file of this program.
    """
    tasks = [Task(photograph, out / _answer_name(photograph.name, suffix, keep_suffix)) for photograph in photographs]
    _require_different(tasks)
    reserved = {out / name for name in (CONTACT_SHEET, FAILED, CONDITIONS)}
    folders = _RealFolders()
    sources = {folders.file(task.photograph.path) for task in tasks}
    for task in tasks:
        if task.answer in reserved or folders.file(task.answer) in sources:
            target = "a file of this program" if task.answer in reserved else "a photograph"
            raise SegmentingError(
                f"{task.photograph.path}: its answer would overwrite {target}, {task.answer}; "
                "give another --out or --keep-suffix"
            )
    return tasks


def _answer_name(name: str, suffix: str, keep_suffix: bool) -> str:
    return name + suffix if keep_suffix else str(Path(name).with_suffix(suffix))


def _require_different(tasks: Sequence[Task]) -> None:
    first_by_answer: dict[Path, Task] = {}
    pairs = [(first, task) for task in tasks if (first := first_by_answer.setdefault(task.answer, task)) is not task]
    if not pairs:
        return
    lines = [
        f"  {first.photograph.path} and {task.photograph.path}: {task.answer}" for first, task in pairs[:_COLLISIONS_SHOWN]
    ]
    more = [f"  and {len(pairs) - _COLLISIONS_SHOWN} more"] if len(pairs) > _COLLISIONS_SHOWN else []
    advice = "with --keep-suffix photo.jpg becomes photo.jpg.png; folders with the same file names need an --out each"
    raise SegmentingError("\n".join([f"answers would overwrite each other; {advice}", *lines, *more]))


class _RealFolders(dict[Path, str]):
    """A cache of resolved folders."""

    def __missing__(self, folder: Path) -> str:
        self[folder] = os.path.realpath(folder)
        return self[folder]

    def file(self, path: Path) -> tuple[str, str]:
        return self[path.parent], path.name
