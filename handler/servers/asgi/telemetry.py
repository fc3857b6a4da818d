"""Telemetry of requests: a line in the log, metrics for Prometheus, and spans."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from handler.errors import SegmentationError
from handler.servers.asgi.logs import RequestRecord, log_event, request_id
from handler.servers.asgi.tracing import Headers, Tracer, make_tracer
from handler.servers.asgi.workers import ModelWorkers

if TYPE_CHECKING:
    from handler.servers.asgi.metrics import Metrics


class Telemetry:
    """Follows each request from its headers to its end."""

    def __init__(self, metrics: "Metrics | None" = None, tracer: Tracer | None = None) -> None:
        """Use these metrics, or count nothing, and this tracer, or only return the client's traces."""
        self.metrics = metrics
        self._tracer = tracer or Tracer()

    def begin(self, method: str, headers: Headers) -> RequestRecord:
        """Start the record of a request; `headers` are its headers, names in lower case."""
        client_id = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), None)
        return RequestRecord(request_id(client_id), self._tracer.begin(headers), method)

    def finish(self, record: RequestRecord) -> None:
        """Log, count and trace a request that has ended."""
        record.write()
        if self.metrics is not None:
            self.metrics.finish(record)
        if record.trace is not None:
            record.trace.finish(record)

    def refuse_connection(self, error: SegmentationError) -> None:
        """Count a connection that was closed without a request."""
        if self.metrics is not None:
            self.metrics.refuse_connection(error)

    def export_front(self, *, connections: Callable[[], int], held_bytes: Callable[[], int]) -> None:
        """Export these numbers of the front process in the metrics, or log that there are no metrics."""
        if self.metrics is not None:
            self.metrics.export_front(connections=connections, held_bytes=held_bytes)
        else:
            log_event("no metrics", reason="the package prometheus-client is not installed")

    def close(self) -> None:
        """Send the last spans."""
        self._tracer.close()


def make_telemetry(models: Mapping[str, ModelWorkers]) -> Telemetry:
    """Return the server's telemetry, depending on installed packages and OpenTelemetry's environment variables.

    Raises:
        OptionError: tracing is configured, but spans cannot be sent.
    """
    tracer = make_tracer()
    if importlib.util.find_spec("prometheus_client") is None:
        return Telemetry(None, tracer)
    from handler.servers.asgi.metrics import Metrics

    return Telemetry(Metrics(models), tracer)
