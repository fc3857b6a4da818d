"""The only module that knows TorchServe: its context, rows, statuses and metrics."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes

from handler.encoders import EncodedResponse, ModelIdentity
from handler.errors import InternalError, attempt
from handler.pipeline import Outcome, Pipeline
from handler.request import SegmentationRequest, parse_request
from handler.settings import HandlerSettings

logger = logging.getLogger(__name__)


class SegmentationService:
    """Loads the archive's checkpoint, then answers batches, each row with its own status and content type."""

    _settings: HandlerSettings
    _pipeline: Pipeline
    _metrics: "Metrics"

    def initialize(self, context: Context) -> None:
        """Load and warm up the model; TorchServe reports the worker READY when this returns.

        Raises:
            ConfigurationError: model-config.yaml holds an unknown key or a bad value.
            CheckpointError: the archive's checkpoint cannot be used.
        """
        model = context.manifest["model"]
        properties = context.system_properties
        self._settings = HandlerSettings.parse(
            (context.model_yaml_config or {}).get("handler") or {}, source="model-config.yaml, section 'handler'"
        )
        self._pipeline = Pipeline.load(
            Path(properties["model_dir"], model["serializedFile"]),
            self._settings,
            ModelIdentity(context.model_name, model["modelVersion"]),
            gpu_id=properties["gpu_id"],
        )
        self._pipeline.warm_up()
        self._metrics = Metrics(context)
        logger.info("ready: %s", self._pipeline.metadata.model)

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer one batch: `rows` as TorchServe hands them over, an answer's bytes for each, in order."""
        self._metrics.batch(len(rows))
        parsed = [attempt(parse_request, row, context.get_all_request_header(i), self._settings) for i, row in enumerate(rows)]
        requests = [request for request in parsed if isinstance(request, SegmentationRequest)]
        answers = iter(self._pipeline.answer(requests, self._metrics.stage))
        outcomes = [next(answers) if isinstance(request, SegmentationRequest) else request for request in parsed]
        return [self._respond(outcome, context, index) for index, outcome in enumerate(outcomes)]

    def _respond(self, outcome: Outcome, context: Context, index: int) -> bytes:
        if isinstance(outcome, EncodedResponse):
            self._metrics.answer(200)
            context.set_response_content_type(index, outcome.content_type)
            return outcome.body
        message = str(outcome)
        if isinstance(outcome, InternalError):
            request_id = context.get_request_id(index)
            logger.error("request %s failed", request_id, exc_info=outcome)
            message = f"{message}; its log has the reason under request {request_id}"
        self._metrics.answer(outcome.status)
        context.set_response_status(outcome.status, outcome.phrase, index)
        context.set_response_content_type(index, "application/json")
        body = {"code": outcome.status, "type": type(outcome).__name__, "message": message}
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


class Metrics:
    """The handler's own metrics; metrics.yaml must declare them too, or TorchServe drops them."""

    def __init__(self, context: Context) -> None:
        self._model = context.model_name
        add = context.metrics.add_metric_to_cache
        common = ["ModelName", "Level"]
        self._stage = add("StageSeconds", "seconds", [*common, "Stage"], MetricTypes.HISTOGRAM)
        self._answers = add("SegmentationAnswers", "count", [*common, "Status"], MetricTypes.COUNTER)
        self._batch = add("BatchSize", "count", common, MetricTypes.HISTOGRAM)

    def stage(self, name: str, seconds: float) -> None:
        self._stage.add_or_update(seconds, [self._model, "Model", name])

    def answer(self, status: int) -> None:
        self._answers.add_or_update(1, [self._model, "Model", str(status)])

    def batch(self, size: int) -> None:
        self._batch.add_or_update(size, [self._model, "Model"])
