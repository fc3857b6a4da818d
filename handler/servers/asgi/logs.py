"""One JSON line per request on standard output, one per event of the server on standard error.

Lines hold what the server knows, never what a client wrote, except a request id that has been checked: nobody can forge one.
"""

import json
import re
import sys
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def log_event(event: str, **details: Any) -> None:
    """Write one line about the server."""
    _write(sys.stderr, {"time": _now(), "event": event, **details})


def request_id(sent: str | None) -> str:
    """Return the id that a client sent if it may stand in a log and a header, else a new one."""
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


@dataclass
class RequestRecord:
    """What the log says about one request."""

    id: str
    began: float = field(default_factory=time.monotonic)
    #: The path with the names of its parts in braces, as the server declares it.
    route: str | None = None
    model: str | None = None
    status: int = 0
    content_type: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    #: Milliseconds of what was done for it, in order.
    milliseconds: dict[str, float] = field(default_factory=dict)
    #: The name of the token that let it in.
    token: str | None = None
    #: The type of the error, if it was refused by the server itself.
    error: str | None = None

    def add(self, stage: str, seconds: float) -> None:
        """Note the seconds of a stage."""
        self.milliseconds[stage] = round(seconds * 1000, 2)

    def write(self) -> None:
        """Write the line."""
        self.add("total", time.monotonic() - self.began)
        line = {
            "time": _now(),
            "id": self.id,
            "route": self.route,
            "model": self.model,
            "token": self.token,
            "status": self.status,
            "format": self.content_type,
            "error": self.error,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ms": self.milliseconds,
        }
        _write(sys.stdout, {name: value for name, value in line.items() if value is not None})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(stream: Any, line: dict[str, Any]) -> None:
    try:
        stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        stream.flush()
    except (OSError, ValueError):  # Whoever read the log has gone; the server has not.
        pass
