"""W3C Trace Context: a client's `traceparent` is validated, returned and logged. If configured, `spans.py` continues the trace.

https://www.w3.org/TR/trace-context/
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from handler.servers.asgi.options import OptionError

if TYPE_CHECKING:
    from handler.servers.asgi.logs import RequestRecord

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
#: OpenTelemetry's variables; the first that is set takes precedence.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class TraceParent:
    """A position in a trace: the parent of a request's span."""

    #: 32 hexadecimal digits.
    trace_id: str
    #: 16 hexadecimal digits.
    span_id: str
    #: Bit 0 is set if the caller records the trace.
    flags: int

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def read_traceparent(headers: Headers) -> TraceParent | None:
    """Return the parsed header `traceparent`, or None if it is absent, repeated or invalid.

    Args:
        headers: the request's headers, names in lower case.
    """
    values = [value.decode("latin-1") for name, value in headers if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, extra = match.groups()
    if version == "ff" or (version == "00" and extra) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceParent(trace_id, span_id, int(flags, 16))


class Trace:
    """The trace of one request; this base class records nothing."""

    #: Whether the times of stages are needed.
    is_recorded = False

    def __init__(self, parent: TraceParent) -> None:
        #: The response header `traceparent`.
        self.parent = parent

    def finish(self, record: "RequestRecord") -> None:
        """Send the spans of a request that has ended."""


class Tracer:
    """Returns the client's traces without recording anything."""

    def begin(self, headers: Headers) -> Trace | None:
        """Return the trace of a request, if any; `headers` are the request's headers, names in lower case."""
        parent = read_traceparent(headers)
        return None if parent is None else Trace(parent)

    def close(self) -> None:
        """Send the remaining spans, for a few seconds at most."""


def make_tracer(environment: Mapping[str, str] = os.environ) -> Tracer:
    """Return a tracer that records spans if OpenTelemetry's variables name an endpoint, otherwise one that records nothing.

    Raises:
        OptionError: the endpoint is invalid, or the packages for it are missing.
    """
    variable = next((name for name in _ENDPOINTS if environment.get(name)), None)
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if variable is None or is_disabled or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return Tracer()
    _check_endpoint(variable, environment)
    try:
        tracer: Tracer = import_module("handler.servers.asgi.spans").SpanTracer(environment)
    except ModuleNotFoundError as error:
        raise OptionError(
            f"{variable} is set, but the module {error.name!r} is missing; pip install opentelemetry-sdk and "
            "opentelemetry-exporter-otlp-proto-http (the extra 'otel'), or unset the variable"
        ) from error
    return tracer


def _check_endpoint(variable: str, environment: Mapping[str, str]) -> None:
    if not _is_url(environment[variable]):
        raise OptionError(f"{variable}: {environment[variable]!r} should be a URL such as http://127.0.0.1:4318")
    variable = next((name for name in _PROTOCOLS if environment.get(name)), "")
    if environment.get(variable, _PROTOCOL) != _PROTOCOL:
        raise OptionError(f"{variable}: {environment[variable]!r} is not supported, only {_PROTOCOL!r}")


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
