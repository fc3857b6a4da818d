"""Spans of requests and their stages, sent by OTLP. Imported only if an endpoint is configured."""

import logging
import threading
import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from handler.servers.asgi.logs import RequestRecord, log_event
from handler.servers.asgi.tracing import Headers, Trace, TraceParent, Tracer, read_traceparent

_NAME = "deeplab-serve"
#: Time limit for sending the last spans.
_SHUTDOWN_TIMEOUT_S = 3.0
#: Any other method is recorded as `_OTHER`, following OpenTelemetry's conventions.
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"}


class SpanTracer(Tracer):
    """Creates a span for each request, with a separate tracer provider configured by OpenTelemetry's variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        logging.getLogger("opentelemetry").addHandler(_EventHandler(logging.WARNING))
        is_named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if is_named else {SERVICE_NAME: _NAME})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(_NAME)

    def begin(self, headers: Headers) -> Trace:
        return SpanTrace(self._tracer, read_traceparent(headers), headers)

    def close(self) -> None:
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_SHUTDOWN_TIMEOUT_S)


class SpanTrace(Trace):
    """A trace that records a span for the request, with a child span for each of its stages."""

    def __init__(self, tracer: trace.Tracer, parent: TraceParent | None, headers: Headers) -> None:
        """Start the span, as a child of `parent` if the client sent a `traceparent`."""
        self._tracer = tracer
        #: Offset from `time.monotonic_ns` to nanoseconds since 1970.
        self._epoch = time.time_ns() - time.monotonic_ns()
        context = _parent_context(_remote_context(parent, headers)) if parent else None
        self._span = tracer.start_span(
            "request", context, trace.SpanKind.SERVER, start_time=self._nanoseconds(time.monotonic())
        )
        position = self._span.get_span_context()
        super().__init__(TraceParent(f"{position.trace_id:032x}", f"{position.span_id:016x}", int(position.trace_flags)))
        self.is_recorded = self._span.is_recording()

    def finish(self, record: RequestRecord) -> None:
        context = trace.set_span_in_context(self._span)
        for stage_time in record.times:
            span = self._tracer.start_span(stage_time.stage, context, start_time=self._nanoseconds(stage_time.began))
            span.end(self._nanoseconds(stage_time.ended))
        method = record.method if record.method in _METHODS else "_OTHER"
        self._span.update_name(f"{method} {record.route}" if record.route else method)
        self._span.set_attributes(_attributes(record, method))
        if record.status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end(self._nanoseconds(time.monotonic()))

    def _nanoseconds(self, monotonic: float) -> int:
        return self._epoch + round(monotonic * 1e9)


def _remote_context(parent: TraceParent, headers: Headers) -> trace.SpanContext:
    states = [value.decode("latin-1") for name, value in headers if name == b"tracestate"]
    return trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(parent.flags),
        trace_state=trace.TraceState.from_header(states),
    )


def _attributes(record: RequestRecord, method: str) -> dict[str, str | int]:
    attributes: dict[str, str | int | None] = {
        "http.request.method": method,
        "http.route": record.route or None,
        "http.response.status_code": record.status,
        "error.type": record.error,
        "deeplab.request_id": record.id,
        "deeplab.model": record.model,
        "deeplab.format": record.format,
        "deeplab.images": record.images or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _parent_context(parent: trace.SpanContext) -> Context:
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


class _EventHandler(logging.Handler):
    """Writes OpenTelemetry's warnings to the server's log."""

    def emit(self, record: logging.LogRecord) -> None:
        log_event("tracing", reason=record.getMessage())
