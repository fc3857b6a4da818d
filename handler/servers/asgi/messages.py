"""What the front process and a worker say to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.observation import Observation
from handler.profile import Profile

#: Raised when a message changes: a worker runs the code of its archive, the front that of the archive it was started from.
VERSION = 4
#: Environment variable with the number of cores a worker may compute on; 0: the archive's own setting.
THREADS_VARIABLE = "DEEPLAB_THREADS"


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
    #: Whether the times of its stages are wanted.
    traced: bool = False
    #: `grpc`: the body is a ModelInferRequest, to be answered by a ModelInferResponse, or an error in JSON.
    protocol: Literal["http", "grpc"] = "http"
    #: Whether the answer's observations are to hold the classes of sample points.
    sampled: bool = False


@dataclass(frozen=True)
class Batch:
    """Front to worker: requests to answer together."""

    number: int
    requests: Sequence[HttpRequest]


@dataclass(frozen=True)
class Ping:
    """Front to worker: give a sign of life."""


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
    """What one request is answered with."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Milliseconds of each stage, of the whole batch where several requests ran in one.
    stages: Mapping[str, float] = field(default_factory=dict)
    #: When they ran, if a request of the batch is traced.
    times: Sequence[StageTime] = ()
    #: The format of the answer, `mixed` where its images have several; None: it is an error or no answer about images.
    format: str | None = None
    #: Images in the request.
    images: int = 0
    #: What these images and their segmentations look like.
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
    """What requests to a model may say and how it answers, for its description in OpenAPI."""

    #: A JSON Schema of each option.
    options: Mapping[str, Any]
    #: Content type and description of each response format.
    formats: Mapping[str, tuple[str, str]]
    #: Images of one KServe call.
    max_instances: int


@dataclass(frozen=True)
class Ready:
    """Worker to front, first of all: the model is loaded."""

    model_version: str
    #: Batches to send at a time, and requests in each.
    batches: int
    requests_per_batch: int
    #: Bytes that an image may have.
    max_bytes: int
    #: KServe's metadata: what runs the model, and its `inputs` and `outputs`.
    platform: str
    tensors: Mapping[str, Sequence[Mapping[str, Any]]]
    interface: Interface
    profile: Profile


@dataclass(frozen=True)
class Unhealthy:
    """Worker to front, last of all: the engine works no more, and the process ends."""

    reason: str


@dataclass(frozen=True)
class LoadFailed:
    """Worker to front: the model cannot be loaded, for a reason that the operator can mend."""

    reason: str


Message = Batch | Ping | Answers | Pong | Ready | Unhealthy | LoadFailed
