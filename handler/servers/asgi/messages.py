"""What the front process and a worker say to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: Raised when a message changes: a worker runs the code of its archive, the front that of the archive it was started from.
VERSION = 1


@dataclass(frozen=True)
class HttpRequest:
    """One request for a model, as it came."""

    #: Names it in the logs.
    id: str
    action: Literal["predict", "explain", "describe"]
    #: The response format that the path names, if any.
    format: str | None = None
    #: Names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Percent-encoded, without the question mark.
    query: str = ""
    body: bytes | bytearray = b""


@dataclass(frozen=True)
class Batch:
    """Front to worker: requests to answer together."""

    number: int
    requests: Sequence[HttpRequest]


@dataclass(frozen=True)
class Answer:
    """What one request is answered with."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Milliseconds of each stage, of the whole batch where several requests ran in one.
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Worker to front: the answers to a batch, in its order."""

    number: int
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Ready:
    """Worker to front, first of all: the model is loaded."""

    model_version: str
    #: Batches to send at a time, and requests in each.
    batches: int
    requests_per_batch: int
    #: Bytes that an image may have.
    max_bytes: int
    #: KServe's metadata: what runs the model.
    platform: str


@dataclass(frozen=True)
class LoadFailed:
    """Worker to front: the model cannot be loaded, for a reason that the operator can mend."""

    reason: str


Message = Batch | Answers | Ready | LoadFailed
