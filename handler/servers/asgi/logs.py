"""The log: one JSON line per request on standard output, and one per server event on standard error.

Lines hold what the server knows, never what a client wrote, except for validated request ids, so clients cannot forge lines.
"""

import asyncio
import json
import re
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from handler.errors import SegmentationError
from handler.observation import Observation
from handler.servers.asgi.errors import rejection_reason
from handler.servers.asgi.log_file import LogFile
from handler.servers.asgi.messages import Answer, StageTime
from handler.servers.asgi.tracing import Trace

#: Longer lines printed by a worker are cut at about this many bytes.
_MAX_LINE_BYTES = 1 << 16
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


_file: LogFile | None = None


def log_into(path: Path, max_bytes: int) -> None:
    """Write everything from now on into a file that is replaced when it reaches `max_bytes`.

    Raises:
        OSError: the file cannot be written.
    """
    global _file
    _file = LogFile(path, max_bytes)


async def relay_lines(stream: asyncio.StreamReader) -> None:
    """Write the lines that another process prints, without mixing them, until it ends."""
    partial_line = b""
    while chunk := await stream.read(_MAX_LINE_BYTES):
        lines, _, partial_line = (partial_line + chunk).rpartition(b"\n")
        if len(partial_line) > _MAX_LINE_BYTES:
            lines, partial_line = lines + partial_line, b""
        if lines:
            _write(sys.stderr, lines.decode(errors="replace"))
    if partial_line:
        _write(sys.stderr, partial_line.decode(errors="replace"))


def log_event(event: str, **details: Any) -> None:
    """Write one line about an event of the server."""
    _write(sys.stderr, _json({"time": _now(), "event": event, **details}))


def error_location(error: Exception) -> str:
    """Return an error's type and the line that raised it, without its message, which may quote what a client wrote."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def request_id(client_id: str | None) -> str:
    """Return the id that a client sent if it is safe in logs and headers, otherwise a new one."""
    return client_id if client_id is not None and _REQUEST_ID.fullmatch(client_id) else uuid.uuid4().hex


@dataclass
class RequestRecord:
    """What the log records about one request."""

    id: str
    trace: Trace | None = None
    method: str = ""
    #: By `time.monotonic`.
    started_at: float = field(default_factory=time.monotonic)
    #: The path with the names of its parts in braces, as the server declares it.
    route: str | None = None
    model: str | None = None
    #: `predict`, `explain` or `describe` for requests to a model, `other` for requests to the server itself.
    action: str = "other"
    status: int = 0
    #: The format of a model's answer; `mixed` if its images have several.
    format: str | None = None
    images: int = 0
    observations: Sequence[Observation] = ()
    bytes_in: int = 0
    bytes_out: int = 0
    #: Duration of each stage, in order.
    milliseconds: dict[str, float] = field(default_factory=dict)
    #: The name of the token that authorized it.
    token: str | None = None
    #: When each stage ran; only for traced requests.
    times: list[StageTime] = field(default_factory=list)
    #: The type of the error.
    error: str | None = None
    #: Why no worker answered it: the server refused it or the client hung up.
    reason: str | None = None

    def add(self, stage: str, start: float, end: float) -> None:
        """Record when a stage ran, by `time.monotonic`."""
        self.milliseconds[stage] = round((end - start) * 1000, 2)
        self.times.append(StageTime(stage, start, end))

    def add_answer(self, answer: Answer) -> None:
        """Record what a worker reports about its answer."""
        self.milliseconds.update(answer.stages)
        self.times.extend(answer.times)
        self.format, self.images, self.error = answer.format, answer.images, answer.error
        self.observations = answer.observations

    def refuse(self, error: SegmentationError) -> None:
        """Record why no worker answers the request."""
        self.error, self.reason = type(error).__name__, rejection_reason(error)

    def write(self) -> None:
        """Write the request's line to the log."""
        self.milliseconds["total"] = round((time.monotonic() - self.started_at) * 1000, 2)
        line = {
            "time": _now(),
            "id": self.id,
            "trace": self.trace and self.trace.parent.trace_id,
            "route": self.route,
            "model": self.model,
            "token": self.token,
            "status": self.status,
            "format": self.format,
            "type": self.error,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ms": self.milliseconds,
        }
        _write(sys.stdout, _json({name: value for name, value in line.items() if value is not None}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":"))


def _write(stream: TextIO, line: str) -> None:
    try:
        if _file is not None:
            _append(_file, line)
        else:
            stream.write(line + "\n")
            stream.flush()
    except (OSError, ValueError):  # The reader of the log is gone, but the server goes on.
        pass


def _append(file: LogFile, line: str) -> None:
    if file.append(line) and file.lost_lines:
        count, file.lost_lines = file.lost_lines, 0
        log_event("log lines lost", count=count, reason="no room on the disk")
    file.replace_if_full()
