"""Keep the answers to one request in a folder."""

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
    """The request behind all answers in a folder."""

    format: str
    options: Mapping[str, str]
    #: Only the path of the server's URL, since the server may move to another host.
    model: str

    @classmethod
    def from_request(cls, url: str, format_name: str, options: Mapping[str, str]) -> "Conditions":
        return cls(format_name, dict(sorted(options.items())), urlsplit(url).path)

    def __str__(self) -> str:
        options = "".join(f", {name} {value}" for name, value in self.options.items())
        return f"{self.format}{options}, by {self.model}"


@dataclass(frozen=True)
class AnswerFolder:
    """A folder of answers, with a file that records their conditions."""

    root: Path
    conditions: Conditions

    def check_conditions(self) -> None:
        """Check that the folder holds no answers to another request.

        Raises:
            SegmentingError: the folder holds answers to another request.
        """
        try:
            recorded = Conditions(**json.loads(self._record.read_text()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            raise SegmentingError(f"{self._record}: cannot be read: {error}") from error
        if recorded != self.conditions:
            raise SegmentingError(
                f"{self.root}: holds answers to another request, by its {CONDITIONS}; give another --out"
                f"\n  then: {recorded}\n  now:  {self.conditions}"
            )

    def save(self, task: Task, answer: bytes) -> None:
        """Write an answer atomically; the conditions are written before the first one.

        Raises:
            SegmentingError: the answer cannot be written.
        """
        try:
            # Not earlier: conditions that the server refuses would block corrected ones.
            if not self._record.exists():
                write_atomically(self._record, json.dumps(asdict(self.conditions), indent=2, ensure_ascii=False).encode())
            write_atomically(task.answer, answer, durable=False)
        except OSError as error:
            raise SegmentingError(f"{task.answer}: cannot be written: {error.strerror}") from error

    @property
    def _record(self) -> Path:
        return self.root / CONDITIONS
