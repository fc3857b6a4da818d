"""The folder of answers, all made under the same conditions."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from model.atomic import write_atomically
from scripts.segment.errors import SegmentingError
from scripts.segment.file_names import CONDITIONS
from scripts.segment.output_paths import Task


@dataclass(frozen=True)
class Conditions:
    """Of one folder's answers, which must not be mixed with others."""

    format: str
    options: Mapping[str, str]
    #: The path in the server's URL; the server may move.
    model: str

    @classmethod
    def of(cls, url: str, format_name: str, options: Mapping[str, str]) -> "Conditions":
        return cls(format_name, dict(sorted(options.items())), urlsplit(url).path)

    def __str__(self) -> str:
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"{self.format}{options}, by {self.model}"


@dataclass(frozen=True)
class AnswerFolder:
    """Answers under one set of conditions, which a file among them records."""

    root: Path
    conditions: Conditions

    def require_same_conditions(self) -> None:
        """Fail where answers would be mixed with others, or others be taken for them.

        Raises:
            SegmentingError: the folder has answers that were asked for in another way.
        """
        try:
            recorded = Conditions(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            raise SegmentingError(f"{self._record}: cannot be read: {error}") from error
        if recorded != self.conditions:
            raise SegmentingError(
                f"{self.root}: holds answers to another question, says {CONDITIONS} in it;"
                f" give another --out\n  then: {recorded}\n  now:  {self.conditions}"
            )

    def save(self, task: Task, answer: bytes) -> None:
        """Write an answer, whole or not at all; and before the first, the conditions.

        Raises:
            SegmentingError: it cannot be written.
        """
        try:
            # Not earlier: conditions that the server refuses would stand in the way of better ones.
            if not self._record.exists():
                write_atomically(self._record, json.dumps(asdict(self.conditions), indent=2, ensure_ascii=False).encode())
            write_atomically(task.answer, answer, durable=False)
        except OSError as error:
            raise SegmentingError(f"{task.answer}: cannot be written: {error.strerror}") from error

    @property
    def _record(self) -> Path:
        return self.root / CONDITIONS
