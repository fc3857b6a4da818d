"""The messages between the front process and a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.observation import Observation
from handler.profile import Profile

#: Incremented when a message changes: a worker runs its archive's code, which may be older or newer than the front process's.
VERSION = 4
#: Environment variable with the number of cores a worker may compute on; 0 for the archive's own setting.
THREADS_VARIABLE = "DEEPLAB_THREADS"


@dataclass(frozen=True)
class HttpRequest:
    """One request for a model, as received."""

    #: The request id, also used in the log.
    id: str
    action: Literal["predict", "explain", "describe"]
    #: The response format that the path names, if any.
    format: str | None = None
    #: Names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Percent-encoded, without the question mark.
    query: str = ""
    body: bytes | bytearray = b""
    #: Whether the answer should include the times of its stages.
    traced: bool = False
    #: With `grpc` the body is a ModelInferRequest, to be answered by a ModelInferResponse or an error in JSON.
    protocol: Literal["http", "grpc"] = "http"
    #: Whether the answer's observations should hold the classes of sample points.
    sampled: bool = False


@dataclass(frozen=True)
class Batch:
    """Front to worker: requests to answer together."""

    number: int
    requests: Sequence[HttpRequest]


@dataclass(frozen=True)
class Ping:
    """Front to worker: a request for a sign of life."""


@dataclass(frozen=True)
class Pong:
    """Worker to front: the sign of life."""


@dataclass(frozen=True)
class StageTime:
    """When a stage ran, by `time.monotonic`, which all processes of a machine share."""

    stage: str
    began: float
    ended: float


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Milliseconds of each stage, for the whole batch.
    stages: Mapping[str, float] = field(default_factory=dict)
    #: When the stages ran, if a request of the batch is traced.
    times: Sequence[StageTime] = ()
    #: The format of the answer; `mixed` if its images have several; None for errors and answers without images.
    format: str | None = None
    #: Images in the request.
    images: int = 0
    #: Statistics of these images and their segmentations.
    observations: Sequence[Observation] = ()
    #: The type of the error.
    error: str | None = None


@dataclass(frozen=True)
class Answers:
    """Worker to front: the answers to a batch, in its order."""

    number: int
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Interface:
    """The options and response formats of a model, for its OpenAPI description."""

    #: A JSON Schema of each option.
    options: Mapping[str, Any]
    #: Content type and description of each response format.
    formats: Mapping[str, tuple[str, str]]
    #: The most images in one KServe call.
    max_instances: int


@dataclass(frozen=True)
class Ready:
    """Worker to front, as its first message: the model is loaded."""

    model_version: str
    #: The most batches that the worker holds at a time, and the most requests in each.
    batches: int
    requests_per_batch: int
    #: The largest image file, in bytes.
    max_bytes: int
    #: KServe's metadata: the model's platform, and its `inputs` and `outputs`.
    platform: str
    tensors: Mapping[str, Sequence[Mapping[str, Any]]]
    interface: Interface
    profile: Profile


@dataclass(frozen=True)
class Unhealthy:
    """Worker to front, as its last message: the engine has failed for good, and the process ends."""

    reason: str


@dataclass(frozen=True)
class LoadFailed:
    """Worker to front: the model cannot be loaded, for a reason that the operator can fix."""

    reason: str


Message = Batch | Ping | Answers | Pong | Ready | Unhealthy | LoadFailed
