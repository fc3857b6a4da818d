"""What the logs of a server say about a failed start."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

CONSOLE, _MODEL, _SERVER = "console.log", "model_log.log", "ts_log.log"
_LINES_SHOWN = 25


@dataclass(frozen=True)
class Logs:
    """The log files of one server."""

    folder: Path

    def load_failure(self) -> str | None:
        """Return what is logged about a model that failed to load, if one did. The server itself would retry for ever."""
        for line in self._read(CONSOLE).splitlines():
            if line.startswith("{") and (event := json.loads(line)).get("event") == "worker ended" and not event["ready"]:
                return f"{event['reason']}\n{self.tail(CONSOLE)}"
        text = self._read(_SERVER)
        if match := re.search(r"Failed to load model: .*", text):
            return match[0].replace("\\r", "").replace("\\n", "\n")  # log4j2.xml keeps an event on one line.
        return self.tail(_MODEL, CONSOLE) if "Load model failed" in text else None

    def unfinished(self) -> int | None:
        """Return how many requests our own server had to finish when it was told to end; None: it does not say."""
        for line in self._read(CONSOLE).splitlines():
            if line.startswith("{") and (event := json.loads(line)).get("event") == "draining":
                count: int = event["unfinished"]
                return count
        return None

    def tail(self, *names: str) -> str:
        """Return the end of the first of these logs that is not empty; by default the worker's, then the server's console."""
        for name in names or (_MODEL, CONSOLE):
            lines = [line for line in self._read(name).splitlines() if line.strip() and "ACCESS_LOG" not in line]
            if lines:
                return "\n".join([*lines[-_LINES_SHOWN:], f"(the end of {self.folder / name})"])
        return f"(no log in {self.folder})"

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""
