"""TorchServe's adapter: its context, rows, pseudo-headers, statuses and metrics. No other module knows about TorchServe."""

import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ts.context import Context
from ts.metrics.metric_type_enum import MetricTypes

from handler.application import Call
from handler.archive import ModelArchive, parse_settings
from handler.drift import Window, drift
from handler.observation import BOUNDS, Observation
from handler.options import ModelIdentity
from handler.profile import Profile
from handler.request.protocols import Reply
from handler.servers.model_process import ServedModel, read_profile

#: Seconds for the last replies to be sent before a worker that cannot recover exits.
_EXIT_DELAY_S = 1.0
#: Minimum seconds between two updates of the gauges; an update also needs an image.
_GAUGE_INTERVAL_S = 10.0
#: Characters with a meaning in TorchServe's metric lines; replaced in class names.
_SEPARATORS = re.compile(r"[,:|#\s]")


def end_worker() -> None:
    """End this process shortly; TorchServe replaces it."""
    threading.Timer(_EXIT_DELAY_S, os._exit, [1]).start()


class SegmentationService:
    """The service that TorchServe loads and calls: `initialize` once, then `handle` for each batch of rows, in one thread."""

    _model: ServedModel
    _metrics: "Metrics"
    _observations: "ObservationMetrics"

    def __init__(self, end_worker: Callable[[], None] = end_worker) -> None:
        self._end_worker = end_worker

    def initialize(self, context: Context) -> None:
        """Load and warm up the model. TorchServe reports the worker READY when this returns.

        Raises:
            ConfigurationError: model-config.yaml has an unknown key or a bad value.
            CheckpointError: the archive's checkpoint cannot be used.
        """
        archive = read_context(context)
        self._model = ServedModel(archive, gpu_id=context.system_properties["gpu_id"])
        self._metrics = Metrics(context)
        self._observations = ObservationMetrics(context, read_profile(archive, self._model.application.pipeline))

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Context) -> list[bytes]:
        """Answer one batch of rows, in order, each with its own status and content type."""
        self._metrics.batch(len(rows))
        calls = [_read_call(row, context, index) for index, row in enumerate(rows)]
        replies = self._model.answer(calls, self._metrics.stage)
        if self._model.application.has_failed:
            self._end_worker()
        self._observations.add([observation for reply in replies for observation in reply.observations])
        return [self._send(reply, context, index) for index, reply in enumerate(replies)]

    def _send(self, reply: Reply, context: Context, index: int) -> bytes:
        self._metrics.answer(reply, "explain" if is_explanation(context.get_all_request_header(index)) else "predict")
        if reply.error:
            context.set_response_status(reply.error.status, reply.error.phrase, index)
        context.set_response_content_type(index, reply.content_type)
        for name, value in reply.headers.items():
            context.set_response_header(index, name, value)
        return reply.body


def read_context(context: Context) -> ModelArchive:
    """Describe the extracted archive from TorchServe's context; a registration may override its name and batch size."""
    model, properties = context.manifest["model"], context.system_properties
    configuration = context.model_yaml_config or {}
    folder = Path(properties["model_dir"])
    return ModelArchive(
        folder,
        folder / model["serializedFile"],
        ModelIdentity(context.model_name, model["modelVersion"]),
        parse_settings(configuration),
        batch_size=properties.get("batch_size") or configuration.get("batchSize", 1),
    )


def _read_call(row: Mapping[str, Any], context: Context, index: int) -> Call:
    headers = context.get_all_request_header(index)
    call = Call(row, text_headers(headers), format=format_in_url(headers), request_id=context.get_request_id(index) or "")
    if is_description(row, headers):
        return replace(call, action="describe")
    return replace(call, action="explain") if is_explanation(headers) else call


def is_explanation(headers: Mapping[str, Any]) -> bool:
    """Return whether the client called `/explanations` or KServe's `:explain`.

    TorchServe itself sets the header `explain`, in this spelling, for every prediction and explanation, overwriting any that
    the client sent. A client's header in another spelling is kept but ignored.
    """
    return headers.get("explain") == "True"


def is_description(row: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Return whether the management API requests the model's description (`GET /models/NAME?customized=true`).

    Such a call has no content, and lacks the header `explain` that TorchServe sets on all others.
    """
    return not row and headers.get("describe") == "True" and "explain" not in headers


def format_in_url(headers: Mapping[str, Any]) -> str | None:
    """Return the last segment of a URL like `/predictions/NAME/VERSION/FORMAT`.

    TorchServe sets the header `url_path`, in this spelling, for /predictions and /explanations. For KServe's paths it does not,
    so such a header would come from the client.
    """
    url = headers.get("url_path")
    return (url.strip("/") or None) if isinstance(url, str) else None


def text_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return the client's headers without those of form parts, which TorchServe mixes in as objects."""
    return {name: _decode_header(value) for name, value in headers.items() if isinstance(value, str)}


def _decode_header(value: str) -> str:
    """Decode a header as UTF-8, which most clients send (in class names, for example) but TorchServe reads as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


class Metrics:
    """The handler's metrics, named as in `asgi.metrics`. metrics.yaml must declare them too, or TorchServe drops them."""

    def __init__(self, context: Context) -> None:
        self._model = context.model_name
        self._lock = threading.Lock()
        add = context.metrics.add_metric_to_cache
        self._stage = add("deeplab_stage_duration_seconds", "seconds", ["model", "stage"], MetricTypes.HISTOGRAM)
        self._batch = add("deeplab_batch_size", "count", ["model"], MetricTypes.HISTOGRAM)
        self._answers = add("deeplab_answers_total", "count", ["model", "action", "format"], MetricTypes.COUNTER)
        self._images = add("deeplab_images_total", "count", ["model", "action"], MetricTypes.COUNTER)
        self._errors = add("deeplab_errors_total", "count", ["model", "type"], MetricTypes.COUNTER)
        starts = add("deeplab_worker_starts_total", "count", ["model"], MetricTypes.COUNTER)
        # TorchServe reads it with the first batch this worker answers.
        starts.add_or_update(1, [self._model])

    def stage(self, name: str, seconds: float) -> None:
        """Record the seconds of one stage; several threads may call this."""
        with self._lock:
            self._stage.add_or_update(seconds, [self._model, name])

    def answer(self, reply: Reply, action: str) -> None:
        """Count an answer by its format, or an error by its type."""
        if reply.error is not None:
            self._errors.add_or_update(1, [self._model, type(reply.error).__name__])
        elif reply.format is not None:
            self._answers.add_or_update(1, [self._model, action, reply.format])
            self._images.add_or_update(reply.images, [self._model, action])

    def batch(self, size: int) -> None:
        """Record the number of rows of a batch."""
        self._batch.add_or_update(size, [self._model])


class ObservationMetrics:
    """Metrics of images and predictions, named as in `asgi.model_metrics`; few, since TorchServe parses a line per value."""

    def __init__(self, context: Context, profile: Profile) -> None:
        self._model = context.model_name
        self._profile = profile
        self._window = Window(len(profile.classes))
        self._gauges_at = 0.0
        add = context.metrics.add_metric_to_cache
        self._shares = add("deeplab_class_share", "count", ["model", "class"], MetricTypes.HISTOGRAM)
        names = {name: name for name in BOUNDS} | {"megapixels": "image_megapixels", "brightness": "image_brightness"}
        self._quantities = {name: add(f"deeplab_{names[name]}", "count", ["model"], MetricTypes.HISTOGRAM) for name in BOUNDS}
        self._drift = add("deeplab_drift_distance", "count", ["model", "quantity"], MetricTypes.GAUGE)
        self._images = add("deeplab_drift_images", "count", ["model"], MetricTypes.GAUGE)
        engine = ["model", "engine", "precision"]
        self._agreement = add("deeplab_engine_agreement", "count", engine, MetricTypes.GAUGE)
        self._required = add("deeplab_engine_agreement_required", "count", engine, MetricTypes.GAUGE)

    def add(self, observations: Sequence[Observation]) -> None:
        """Record images, each with only the classes present in it."""
        for observation in observations:
            self._window.add(observation)
            for name, metric in self._quantities.items():
                metric.add_or_update(round(getattr(observation, name), 4), [self._model])
            for label, share in self._profile.label_shares(observation):
                if share > 0:
                    self._shares.add_or_update(round(share, 4), [self._model, _SEPARATORS.sub("_", label)])
        if observations and time.monotonic() - self._gauges_at > _GAUGE_INTERVAL_S:
            self._gauges_at = time.monotonic()
            self._set_gauges()

    def _set_gauges(self) -> None:
        if self._profile.agreement is not None:
            labels = [self._model, self._profile.engine, self._profile.precision]
            for metric, value in zip((self._agreement, self._required), self._profile.agreement, strict=True):
                metric.add_or_update(value, labels)
        if self._profile.reference is not None:
            self._images.add_or_update(len(self._window), [self._model])
            for quantity, distance in drift(self._profile.reference.distribution, self._window.distribution()).items():
                self._drift.add_or_update(round(distance, 4), [self._model, quantity])
