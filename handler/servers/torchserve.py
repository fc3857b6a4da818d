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
from handler.options import ModelIdentity, SegmentationRequest
from handler.pipeline import Outcome, Pipeline
from handler.request.parser import RequestParser, is_description
from handler.request.protocols import Call, Reply, open_call
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
        calls = [open_call(row, self._model) for row in rows]
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

    def _requests(self, row: Mapping[str, Any], call: Call, headers: Mapping[str, Any]) -> list[SegmentationRequest]:
        """What one row asks for; nothing, where the model is to describe itself."""
        return [] if is_description(row, headers) else self._parser.parse(call, headers)

    def _reply(self, call: Call, requests: Sequence[SegmentationRequest], outcomes: Sequence[Outcome]) -> Reply:
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
