"""The whole service, for any server: calls in, replies out."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from handler.answers.response import compact_json
from handler.archive import ModelArchive
from handler.description import describe
from handler.errors import InternalError, ResponseTooLarge, SegmentationError, capture
from handler.network.views import EngineFault, NonFiniteLogits
from handler.options import ANSWER, SegmentationRequest
from handler.pipeline import Pipeline
from handler.request.option_table import Option
from handler.request.parser import EXPLANATION_FORMAT, RequestParser
from handler.request.protocols import Envelope, Reply, read_envelope
from handler.scheduler import Outcome, make_scheduler
from handler.stages import Observer, ignore

logger = logging.getLogger(__name__)

#: Consecutive faults after which the engine is tested. One request may fail without affecting the next.
_FAULTS_BEFORE_TEST = 3
#: Consecutive engine faults after which it is considered broken, even if it passes the test.
_MAX_ENGINE_FAULTS = 20


@dataclass(frozen=True)
class Call:
    """One call as a server received it."""

    #: Form fields or the keys of a JSON object, by name; a raw body is the field `body`.
    fields: Mapping[str, Any]
    #: The client's headers, with names in any case.
    headers: Mapping[str, str] = field(default_factory=dict)
    action: Literal["predict", "explain", "describe"] = "predict"
    #: The response format in the URL, if any.
    format: str | None = None
    #: Options in the URL's query string, as text by name.
    query: Mapping[str, str] = field(default_factory=dict)
    #: Identifies the call in the log, and to the client if the server fails to answer it.
    request_id: str = ""
    #: Whether the reply's observations include the classes at sample points.
    sampled: bool = False


class Application:
    """Answers calls to one model. Several threads may call it at once.

    >>> application = Application.load(read_archive(folder))
    >>> (reply,) = application.answer([Call({"body": jpeg}, {"Accept": "image/png"})])
    >>> reply.content_type
    'image/png'
    """

    def __init__(self, archive: ModelArchive, pipeline: Pipeline) -> None:
        """Put a loaded pipeline behind the wire formats.

        Raises:
            ConfigurationError: the settings name a class that the model does not have.
        """
        self.pipeline = pipeline
        self._archive = archive
        self._scheduler = make_scheduler(pipeline)
        self._parser = RequestParser(archive.settings, pipeline.labels)
        self._health = _EngineHealth(pipeline)

    @classmethod
    def load(cls, archive: ModelArchive, *, gpu_id: int | None = None) -> "Application":
        """Load and warm up the archive's model.

        Args:
            archive: the extracted archive.
            gpu_id: the GPU to run on, or None for the CPU.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the settings cannot be used.
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
        """
        pipeline = Pipeline.load(
            archive.checkpoint,
            archive.settings,
            archive.identity,
            archive=archive.folder,
            gpu_id=gpu_id,
            lanes=archive.batch_size,
        )
        application = cls(archive, pipeline)
        pipeline.warm_up()
        return application

    @property
    def has_failed(self) -> bool:
        """Whether the engine cannot recover, as after most CUDA errors, so that the process should be replaced."""
        return self.failure is not None

    @property
    def failure(self) -> str | None:
        """Why the engine cannot recover, or None if it works."""
        return self._health.failure

    @property
    def options(self) -> Mapping[str, Option]:
        """The options of a request, by name."""
        return self._parser.options

    @cached_property
    def description(self) -> dict[str, Any]:
        """The model's description: classes, options, limits, metrics, digest."""
        return describe(self.pipeline, self._parser.options, self._archive)

    def answer(self, calls: Sequence[Call], observe: Observer = ignore) -> list[Reply]:
        """Reply to `calls`, which arrived together. No call affects the reply to another.

        Args:
            calls: the calls.
            observe: receives the duration of each stage in seconds, from several threads.
        """
        parsed_calls = [self._parse(call) for call in calls]
        outcomes = self._scheduler.answer([request for parsed in parsed_calls for request in parsed.requests], observe)
        self._health.record(outcomes)
        remaining = iter(outcomes)
        return [self._reply(parsed, [next(remaining) for _ in parsed.requests]) for parsed in parsed_calls]

    def release_memory(self) -> None:
        """Free the memory kept between calls for speed; the next call has to allocate it again."""
        self.pipeline.release_memory()

    def _parse(self, call: Call) -> "_ParsedCall":
        envelope = read_envelope(call.fields, self._archive.identity, call.headers, self._archive.settings.limits)
        if call.action == "describe":
            return _ParsedCall(call, envelope, [])
        requests = capture(
            self._parser.parse,
            envelope,
            call.headers,
            explain=call.action == "explain",
            format_name=call.format,
            query=call.query,
        )
        if isinstance(requests, SegmentationError):
            return _ParsedCall(call, envelope, [], requests)
        if call.sampled:
            requests = [replace(request, sampled=True) for request in requests]
        return _ParsedCall(call, envelope, requests)

    def _reply(self, parsed: "_ParsedCall", outcomes: Sequence[Outcome]) -> Reply:
        reply = capture(self._assemble, parsed, outcomes) if parsed.error is None else parsed.error
        if isinstance(reply, SegmentationError):
            return parsed.envelope.refuse(reply, _public_message(reply, parsed.call.request_id))
        return reply

    def _assemble(self, parsed: "_ParsedCall", outcomes: Sequence[Outcome]) -> Reply:
        if parsed.call.action == "describe":
            return Reply(compact_json(self.description))
        answers = []
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, SegmentationError):
                raise outcome.with_location(f"image {position}") if len(outcomes) > 1 else outcome
            answers.append(outcome)
        reply = parsed.envelope.reply(answers, explained=parsed.call.action == "explain")
        size, limit = len(reply.body), self._archive.settings.limits.max_response_bytes
        if size > limit:
            raise ResponseTooLarge(f"the answer to the call has {size:,} bytes, the limit is {limit:,}")
        observations = [answer.observation for answer in answers if answer.observation is not None]
        return replace(reply, format=_overall_format(parsed.requests), images=len(answers), observations=observations)


@dataclass(frozen=True)
class _ParsedCall:
    call: Call
    envelope: Envelope
    #: One per image; none for a description or a refused call.
    requests: Sequence[SegmentationRequest]
    #: Why the call is refused.
    error: SegmentationError | None = None


class _EngineHealth:
    """Distinguishes a broken engine from a request that it could not answer."""

    def __init__(self, pipeline: Pipeline) -> None:
        #: Why the engine cannot recover, or None if it works.
        self.failure: str | None = None
        self._pipeline = pipeline
        #: Consecutive internal errors since the last test, and consecutive engine faults.
        self._faults = 0
        self._engine_faults = 0
        self._lock = threading.Lock()

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Count consecutive faults; after a few, or at once if logits are not finite, try the engine on a test image."""
        with self._lock:
            for outcome in outcomes:
                if isinstance(outcome, InternalError):
                    self._faults += _FAULTS_BEFORE_TEST if isinstance(outcome.__cause__, NonFiniteLogits) else 1
                    self._engine_faults += isinstance(outcome.__cause__, EngineFault)
                elif not isinstance(outcome, SegmentationError):
                    self._faults = self._engine_faults = 0
            suspect, engine_faults = self._faults >= _FAULTS_BEFORE_TEST, self._engine_faults
        if engine_faults >= _MAX_ENGINE_FAULTS:
            self._fail(f"the engine has failed {engine_faults} times in a row")
        elif suspect:
            self._test()

    def _test(self) -> None:
        try:
            self._pipeline.warm_up()
        except Exception as error:
            self._fail(f"the engine fails on a test image too: {error}")
        else:
            with self._lock:
                self._faults = 0

    def _fail(self, reason: str) -> None:
        logger.critical("%s; this process cannot recover", reason, exc_info=True)
        self.failure = reason


def _overall_format(requests: Sequence[SegmentationRequest]) -> str:
    """Return the name of the answers' format: `mixed` for several formats, `arrays` if only arrays are requested."""
    formats = {_request_format(request) for request in requests}
    return formats.pop() if len(formats) == 1 else "mixed"


def _request_format(request: SegmentationRequest) -> str:
    if request.explain:
        return EXPLANATION_FORMAT
    return request.answer.format if ANSWER in request.outputs else "arrays"


def _public_message(error: SegmentationError, request_id: str) -> str:
    """Return the message for the client; the cause of an internal error is only logged."""
    if not isinstance(error, InternalError):
        return str(error)
    logger.error("request %s failed", request_id, exc_info=error)
    return f"{error}; its log has the reason under request {request_id}"
