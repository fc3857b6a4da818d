"""Metrics for Prometheus. Every label takes values from a bounded set, so nothing a client wrote becomes one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from handler.errors import SegmentationError
from handler.observation import Observation
from handler.servers.asgi.errors import rejection_reason
from handler.servers.asgi.logs import RequestRecord
from handler.servers.asgi.messages import Answer
from handler.servers.asgi.model_metrics import ModelCollector, ObservationHistograms
from handler.servers.asgi.options import Split
from handler.servers.asgi.request_queue import QueueObserver, Ticket
from handler.servers.asgi.workers import ModelWorkers

#: Upper bounds in seconds.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 120)
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: Shares.
_AGREEMENT_BUCKETS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
_BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
#: Exported as 0 from the start: Prometheus does not count a series' first appearance as an increase.
_REASONS = (
    "body_too_large",
    "client_gone",
    "deadline_exceeded",
    "held_bytes",
    "model_not_ready",
    "queue_full",
    "request_timeout",
)


class Metrics:
    """The metrics of one server, in a separate registry."""

    def __init__(self, models: Mapping[str, ModelWorkers]) -> None:
        """Start observing the queues and workers of these models."""
        disable_created_metrics()
        self._registry = CollectorRegistry()
        histogram, counter = self._factory(Histogram), self._factory(Counter)
        self._requests = histogram(
            "request_duration_seconds",
            "From a request's headers to its answer, or until the client hung up.",
            ["model", "action", "status"],
            buckets=_REQUEST_BUCKETS,
        )
        self._stages = histogram(
            "stage_duration_seconds", "Stages of a batch of requests.", ["model", "stage"], buckets=_STAGE_BUCKETS
        )
        self._answers = counter("answers", "Requests that a model answered.", ["model", "action", "format"])
        self._images = counter("images", "Images in these requests.", ["model", "action"])
        self._errors = counter("errors", "Requests and connections answered with an error.", ["model", "type"])
        self._rejections = counter("rejections", "Those that ended without a worker's answer.", ["model", "reason"])
        self._observe_queues(models)
        self._export_workers(models)
        self._models = models
        self._watchers = (ObservationHistograms(histogram), ModelCollector(models, self._registry))

    def _factory(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        return partial(kind, namespace="deeplab", registry=self._registry)

    def _observe_queues(self, models: Mapping[str, ModelWorkers]) -> None:
        histogram, counter = self._factory(Histogram), self._factory(Counter)
        waits = histogram("queue_wait_seconds", "From a request's last byte to its worker.", ["model"], buckets=_WAIT_BUCKETS)
        batches = histogram("batch_size", "Requests in a worker's batch.", ["model"], buckets=_BATCH_BUCKETS)
        restarts = counter("worker_restarts", "Workers started to replace others that ended.", ["model"])
        for name, model in models.items():
            stage = partial(self._stages.labels, name)
            model.queue.observer = _ModelObserver(waits.labels(name), batches.labels(name), restarts.labels(name), stage)
            for reason in _REASONS:
                self._rejections.labels(name, reason)

    def _export_workers(self, models: Mapping[str, ModelWorkers]) -> None:
        gauge = self._factory(Gauge)
        gauges: dict[Any, Callable[[ModelWorkers], int]] = {
            gauge("queue_length", "Requests that wait for a worker.", ["model"]): lambda model: len(model.queue),
            gauge("running_requests", "Requests that workers hold.", ["model"]): lambda model: model.queue.running,
            gauge("workers", "Worker processes that should run.", ["model"]): lambda model: len(model.describe()),
            gauge("workers_ready", "Worker processes that can answer.", ["model"]): lambda model: model.workers_ready,
        }
        for name, model in models.items():
            for metric, read_value in gauges.items():
                metric.labels(name).set_function(partial(read_value, model))

    def export_front(self, *, connections: Callable[[], int], held_bytes: Callable[[], int]) -> None:
        """Export these numbers of the front process too, read whenever the metrics are."""
        gauge = self._factory(Gauge)
        gauge("connections", "Open connections.").set_function(connections)
        gauge("held_bytes", "Bytes of request bodies being held.").set_function(held_bytes)

    def finish(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        if not record.status:  # Cut off, for example by a second SIGTERM.
            return
        model = record.model or ""
        self._requests.labels(model, record.action, f"{record.status // 100}xx").observe(record.milliseconds["total"] / 1000)
        if record.format is not None:
            self._answers.labels(model, record.action, record.format).inc()
            self._images.labels(model, record.action).inc(record.images)
        if "read" in record.milliseconds:
            self._stages.labels(model, "read").observe(record.milliseconds["read"] / 1000)
        self.observe(model, record.observations)
        self._count_error(model, record.error, record.reason)

    def observe(self, model: str, observations: Sequence[Observation]) -> None:
        """Count observations of the images that `model` segmented."""
        if observations and (ready := self._models[model].ready) is not None:
            for watcher in self._watchers:
                for observation in observations:
                    watcher.add(model, ready.profile, observation)

    def watch_shadows(self, splits: Sequence[Split]) -> None:
        """Declare the metrics of shadows, which a server without shadows does not export."""
        names = ["model", "shadow"]
        self._shadows = self._factory(Counter)("shadow_requests", "Requests for a shadow.", [*names, "outcome"])
        self._shadow_agreement = self._factory(Histogram)(
            "shadow_agreement", "Share of an image's pixels that a shadow labels the same.", names, buckets=_AGREEMENT_BUCKETS
        )
        for split in splits:
            self._shadow_agreement.labels(split.model, split.target)
            for outcome in ("compared", "dropped", "failed"):
                self._shadows.labels(split.model, split.target, outcome)

    def compare(self, model: str, shadow: str, outcome: str, agreement: float | None = None) -> None:
        """Count a request chosen for `shadow`, and observe the share of pixels that both models labelled the same."""
        self._shadows.labels(model, shadow, outcome).inc()
        if agreement is not None:
            self._shadow_agreement.labels(model, shadow).observe(agreement)

    def refuse_connection(self, error: SegmentationError) -> None:
        """Count a connection that was closed without a request."""
        self._count_error("", type(error).__name__, rejection_reason(error))

    def _count_error(self, model: str, error_type: str | None, reason: str | None) -> None:
        if error_type is not None:
            self._errors.labels(model, error_type).inc()
        if reason is not None:
            self._rejections.labels(model, reason).inc()

    def exposition(self, accept: str, names: Sequence[str] = ()) -> tuple[bytes, str]:
        """Return all metrics, or the samples with these names, and their content type: OpenMetrics if `accept` allows it."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry.restricted_registry(names) if names else self._registry), content_type


class _ModelObserver(QueueObserver):
    """Counts what happens between the front process and the workers of one model."""

    def __init__(self, waits: Histogram, batches: Histogram, restarts: Counter, stage: Callable[[str], Histogram]) -> None:
        self._waits = waits
        self._batches = batches
        self._restarts = restarts
        self._stage = stage

    def take(self, tickets: Sequence[Ticket]) -> None:
        self._batches.observe(len(tickets))
        for ticket in tickets:
            if ticket.is_low_priority:
                continue
            self._waits.observe((ticket.started_at or ticket.queued_at) - ticket.queued_at)

    def finish(self, answers: Sequence[Answer]) -> None:
        for stage, milliseconds in answers[0].stages.items():
            self._stage(stage).observe(milliseconds / 1000)

    def restart(self) -> None:
        self._restarts.inc()
