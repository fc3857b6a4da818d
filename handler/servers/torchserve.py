"""The only module that knows TorchServe: its context, rows, statuses and metrics."""

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.description import describe
from handler.errors import InternalError, ResponseTooLarge, SegmentationError, attempt
from handler.image.process import prepare_process
from handler.options import ModelIdentity, SegmentationRequest
from handler.pipeline import Outcome, Pipeline
from handler.request.parser import RequestParser
from handler.request.protocols import Envelope, Reply, read_envelope
from handler.settings import HandlerSettings

logger = logging.getLogger(__name__)


class SegmentationService:
    """Loads the archive's checkpoint, then answers batches, each row with its own status and content type."""

    _settings: HandlerSettings
    _model: ModelIdentity
    _folder: Path
    _pipeline: Pipeline
    _parser: RequestParser
    _metrics: "Metrics"

    def initialize(self, context: Context) -> None:
        """Load and warm up the model; TorchServe reports the worker READY when this returns.

        Raises:
            ConfigurationError: model-config.yaml holds an unknown key or a bad value.
            CheckpointError: the archive's checkpoint cannot be used.
        """
        prepare_process()
        model = context.manifest["model"]
        properties = context.system_properties
        configuration = context.model_yaml_config or {}
        self._settings = HandlerSettings.parse(
            configuration.get("handler") or {}, source="model-config.yaml, section 'handler'"
        )
        self._model = ModelIdentity(context.model_name, model["modelVersion"])
        self._folder = Path(properties["model_dir"])
        checkpoint = self._folder / model["serializedFile"]
        self._pipeline = Pipeline.load(
            checkpoint,
            self._settings,
            self._model,
            archive=self._folder,
            gpu_id=properties["gpu_id"],
            lanes=configuration.get("batchSize", 1),
        )
        if self._pipeline.engine.name == "openvino":
            # It has threads of its own. Those of torch, which resizes for it, would spin for a while beside them.
            torch.set_num_threads(1)
        self._parser = RequestParser(self._settings, self._pipeline.labels)
        self._pipeline.warm_up()
        self._metrics = Metrics(context)
        engine = self._pipeline.engine
        logger.info("ready: %s by %s in %s", self._pipeline.metadata.model, engine.name, engine.precision)

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer one batch: `rows` as TorchServe hands them over, an answer's bytes for each, in order."""
        self._metrics.batch(len(rows))
        headers = [context.get_all_request_header(index) for index in range(len(rows))]
        calls = [read_envelope(row, self._model) for row in rows]
        parsed = [attempt(self._requests, *each) for each in zip(rows, calls, headers, strict=True)]
        requests = [request for own in parsed if not isinstance(own, SegmentationError) for request in own]
        outcomes = iter(self._pipeline.answer(requests, self._metrics.stage))
        answers = []
        for index, (call, own) in enumerate(zip(calls, parsed, strict=True)):
            reply = (
                own if isinstance(own, SegmentationError) else attempt(self._reply, call, own, [next(outcomes) for _ in own])
            )
            if isinstance(reply, SegmentationError):
                reply = call.refuse(reply, self._message(reply, context.get_request_id(index)))
            answers.append(self._send(reply, context, index))
        return answers

    def _requests(self, row: Mapping[str, Any], call: Envelope, headers: Mapping[str, Any]) -> list[SegmentationRequest]:
        """What one row asks for; nothing, where the model is to describe itself."""
        if is_description(row, headers):
            return []
        explain, format_name = is_explanation(headers), format_in_url(headers)
        return self._parser.parse(call, text_headers(headers), explain=explain, format_name=format_name)

    def _reply(self, call: Envelope, requests: Sequence[SegmentationRequest], outcomes: Sequence[Outcome]) -> Reply:
        if not requests:
            return Reply(compact_json(self._description))
        answers: list[EncodedResponse] = []
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, SegmentationError):
                raise outcome.at(f"image {position}") if len(outcomes) > 1 else outcome
            answers.append(outcome)
        reply = call.reply(answers, explained=requests[0].explain)
        size, limit = len(reply.body), self._settings.limits.max_response_bytes
        if size > limit:
            raise ResponseTooLarge(f"the answer to the call has {size:,} bytes, the limit is {limit:,}")
        return reply

    @cached_property
    def _description(self) -> dict[str, Any]:
        return describe(self._pipeline, self._parser.options, self._settings, self._model, self._folder)

    @staticmethod
    def _message(error: SegmentationError, request_id: str | None) -> str:
        """What the client is told; what it is not told goes to the log."""
        if not isinstance(error, InternalError):
            return str(error)
        logger.error("request %s failed", request_id, exc_info=error)
        return f"{error}; its log has the reason under request {request_id}"

    def _send(self, reply: Reply, context: Context, index: int) -> bytes:
        self._metrics.answer(reply.error.status if reply.error else 200)
        if reply.error:
            context.set_response_status(reply.error.status, reply.error.phrase, index)
        context.set_response_content_type(index, reply.content_type)
        return reply.body


def is_explanation(headers: Mapping[str, Any]) -> bool:
    """Tell whether the client called `/explanations` or KServe's `:explain`.

    TorchServe itself sets the header `explain`, in this spelling, for every prediction and explanation, and overwrites a
    client's own. A client's header in another spelling stays beside it and means nothing.
    """
    return headers.get("explain") == "True"


def is_description(row: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Tell whether the management API wants the model's description (`GET /models/NAME?customized=true`).

    Such a call has no content, and lacks the header `explain` that TorchServe sets for all others.
    """
    return not row and headers.get("describe") == "True" and "explain" not in headers


def format_in_url(headers: Mapping[str, Any]) -> str | None:
    """Return the last segment of a URL like `/predictions/NAME/VERSION/FORMAT`.

    TorchServe sets the header `url_path`, in this spelling, at /predictions and /explanations, but not at KServe's paths, where
    it would be the client's own.
    """
    url = headers.get("url_path")
    return (url.strip("/") or None) if isinstance(url, str) else None


def text_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the client's headers, without the headers of a form's parts, which TorchServe puts among them as objects."""
    return {name: _decoded(value) for name, value in headers.items() if isinstance(value, str)}


def _decoded(value: str) -> str:
    """Decode a header as UTF-8, which most clients send (as in a class name) and TorchServe reads as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


class Metrics:
    """The handler's own metrics; metrics.yaml must declare them too, or TorchServe drops them."""

    def __init__(self, context: Context) -> None:
        self._model = context.model_name
        self._one_at_a_time = threading.Lock()
        add = context.metrics.add_metric_to_cache
        common = ["ModelName", "Level"]
        self._stage = add("StageSeconds", "seconds", [*common, "Stage"], MetricTypes.HISTOGRAM)
        self._answers = add("SegmentationAnswers", "count", [*common, "Status"], MetricTypes.COUNTER)
        self._batch = add("BatchSize", "count", common, MetricTypes.HISTOGRAM)

    def stage(self, name: str, seconds: float) -> None:
        """Several threads may call it."""
        with self._one_at_a_time:
            self._stage.add_or_update(seconds, [self._model, "Model", name])

    def answer(self, status: int) -> None:
        self._answers.add_or_update(1, [self._model, "Model", str(status)])

    def batch(self, size: int) -> None:
        self._batch.add_or_update(size, [self._model, "Model"])
