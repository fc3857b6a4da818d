"""Read from a server's logs why it failed to start."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONSOLE, _MODEL, _SERVER = "console.log", "model_log.log", "ts_log.log"
_LINES_SHOWN = 25
#: How the lines of a traceback begin, except the last.
_TRACEBACK_PREFIXES = ("Traceback ", " ", "During handling ", "The above exception ")


@dataclass(frozen=True)
class Logs:
    """The log files of one server."""

    folder: Path

    def load_failure(self) -> str | None:
        """Return the log of a model that failed to load, or None. The server itself would retry forever."""
        for event in self._events("worker ended"):
            if not event["ready"]:
                return f"{event['reason']}\n{self.tail(CONSOLE)}"
        text = self._read(_SERVER)
        if match := re.search(r"Failed to load model: .*", text):
            return match[0].replace("\\r", "").replace("\\n", "\n")  # log4j2.xml keeps an event on one line.
        deaths = text.count("Load model failed")
        return self.tail(_MODEL, CONSOLE) if deaths > 1 or (deaths and self._has_traceback()) else None

    def unfinished(self) -> int | None:
        """Return how many requests our own server had to finish when it began to stop, or None if that is not logged."""
        return next((int(event["unfinished"]) for event in self._events("draining")), None)

    def tail(self, *names: str) -> str:
        """Return the end of the first non-empty log among `names`, by default the worker's log and the server's console."""
        for name in names or (_MODEL, CONSOLE):
            lines = [line for line in self._read(name).splitlines() if line.strip() and "ACCESS_LOG" not in line]
            if lines:
                return "\n".join([*lines[-_LINES_SHOWN:], f"(the end of {self.folder / name})"])
        return f"(no log in {self.folder})"

    def _has_traceback(self) -> bool:
        """Whether the worker's log ends with a complete traceback; TorchServe notices a death before it logs the last lines."""
        lines = [line.partition("MODEL_LOG - ")[2] for line in self._read(_MODEL).splitlines()]
        messages = [line for line in lines if line.strip()]
        return any(line.startswith("Traceback ") for line in messages) and not messages[-1].startswith(_TRACEBACK_PREFIXES)

    def _events(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Yield our own server's events with this name. Incomplete lines, as a full disk leaves them, are skipped."""
        for line in self._read(CONSOLE).splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    yield event

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""
