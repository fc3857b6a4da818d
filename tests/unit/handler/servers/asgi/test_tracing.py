"""Traces: a client's `traceparent` is returned, and spans reach a real OpenTelemetry receiver."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from handler.servers.asgi.options import OptionError
from handler.servers.asgi.tracing import Tracer, make_tracer, read_traceparent
from tests.local_server import running
from tests.support import ROOT
from tests.unit.handler.servers.asgi.fake_worker import STAGES
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_traceparent_is_read_and_written_unchanged(trace: int, span: int, flags: int) -> None:
    text = f"00-{trace:032x}-{span:016x}-{flags:02x}"

    assert str(read_traceparent([(b"traceparent", text.encode())])) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zebra",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-0١",
    ],
)
def test_invalid_traceparents_are_ignored(text: str) -> None:
    assert read_traceparent([(b"traceparent", text.encode())]) is None


def test_a_later_version_is_read_like_version_00() -> None:
    assert str(read_traceparent([(b"traceparent", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings".encode())])) == SAMPLED


def test_two_traceparents_are_ignored() -> None:
    assert read_traceparent([(b"traceparent", SAMPLED.encode())] * 2) is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_recorded_unless_an_endpoint_is_configured(environment: dict[str, str]) -> None:
    assert type(make_tracer(environment)) is Tracer


@pytest.mark.parametrize(
    ("environment", "fragments"),
    [
        ({ENDPOINT: "localhost:4318"}, [ENDPOINT, "'localhost:4318'", "http://"]),
        ({ENDPOINT: "http://"}, [ENDPOINT, "'http://'"]),
        ({ENDPOINT: "http://[::1"}, [ENDPOINT, "'http://[::1'"]),
        ({ENDPOINT: "http://a:port"}, [ENDPOINT, "'http://a:port'"]),
        ({ENDPOINT: "http://a", PROTOCOL: "grpc"}, [PROTOCOL, "'grpc'", "'http/protobuf'"]),
    ],
)
def test_an_unusable_endpoint_is_refused(environment: dict[str, str], fragments: list[str]) -> None:
    with pytest.raises(OptionError) as error:
        make_tracer(environment)

    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "handler.servers.asgi.spans", raising=False)

    with pytest.raises(OptionError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set.*'opentelemetry.*opentelemetry-sdk.*'otel'"):
        make_tracer({ENDPOINT: "http://127.0.0.1:4318"})


class Receiver(HTTPServer):
    """A receiver of spans, like a collector."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.paths: list[str] = []
        self.spans: list[Any] = []
        self.services: set[str] = set()


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        export = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        for resource in export.resource_spans:
            resource_attributes = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            self.server.services.add(resource_attributes["service.name"])
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")
    with running(Receiver()) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[FakeServer]:
    folder = tmp_path_factory.mktemp("server")
    with tracing_server(folder, f"http://127.0.0.1:{receiver.server_port}") as running_server:
        yield running_server


@contextmanager
def tracing_server(folder: Path, endpoint: str) -> Iterator[FakeServer]:
    environment = {**os.environ, ENDPOINT: endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50", "NO_PROXY": "127.0.0.1"}
    with fake_server(folder, environment=environment) as server:
        until(server.is_ready)
        yield server


def attributes(span: Any) -> dict[str, Any]:
    return {attribute.key: attribute.value.string_value or attribute.value.int_value for attribute in span.attributes}


def trace(receiver: Receiver, trace_id: str, spans: int) -> list[Any]:
    """Wait for the spans of a trace, parent first."""

    def received_spans() -> list[Any]:
        return [span for span in receiver.spans if span.trace_id.hex() == trace_id]

    until(lambda: len(received_spans()) >= spans)
    return sorted(received_spans(), key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano))


def test_a_request_has_a_span_below_the_clients_and_one_for_each_stage(server: FakeServer, receiver: Receiver) -> None:
    headers = {"traceparent": SAMPLED, "X-Request-ID": "r-1"}

    response = server.ask("answer png 2", headers=headers)

    request, *stages = trace(receiver, TRACE, 3 + len(STAGES))
    assert (request.name, request.kind, request.parent_span_id.hex()) == ("POST /predictions/{model}", 2, SPAN)
    assert response.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predictions/{model}",
        "http.response.status_code": 200,
        "deeplab.request_id": "r-1",
        "deeplab.model": "fake",
        "deeplab.format": "png",
        "deeplab.images": 2,
    }
    assert {stage.name for stage in stages} == {"read", "queue", *STAGES}
    assert {stage.parent_span_id for stage in stages} == {request.span_id}
    for stage in stages:
        assert request.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= request.end_time_unix_nano
    assert server.request_line(response)["trace"] == TRACE
    assert receiver.services == {"deeplab-serve"}
    assert set(receiver.paths) == {"/v1/traces"}


def test_a_request_without_a_trace_starts_one(server: FakeServer, receiver: Receiver) -> None:
    response = server.ask("unhealthy the logits are not finite", headers={"traceparent": "zebra"})

    trace_id = response.headers["traceparent"].split("-")[1]
    request, *_ = trace(receiver, trace_id, 1)
    assert (request.parent_span_id, request.status.code) == (b"", 2)
    until(server.is_ready)


def test_unsampled_traces_are_not_recorded(server: FakeServer, receiver: Receiver) -> None:
    unsampled = TRACE[::-1]

    response = server.ask("answer png 1", headers={"traceparent": f"00-{unsampled}-{SPAN}-00"})
    later = server.ask("echo")

    assert response.headers["traceparent"].startswith(f"00-{unsampled}-")
    assert response.headers["traceparent"].endswith("-00")
    trace(receiver, later.headers["traceparent"].split("-")[1], 1)
    assert [span for span in receiver.spans if span.trace_id.hex() == unsampled] == []


def test_spans_contain_no_other_client_data(server: FakeServer, receiver: Receiver) -> None:
    headers = {"X-Secret": "zebra", "User-Agent": "zebra", "Authorization": "zebra"}

    response = requests.request("BREW", f"{server.url}/predictions/zebra?q=zebra", headers=headers, timeout=TIMEOUT_S)
    if "traceparent" not in response.headers:  # The HTTP parser refuses unknown methods.
        response = requests.post(f"{server.url}/predictions/zebra?q=zebra", headers=headers, timeout=TIMEOUT_S)

    spans = trace(receiver, response.headers["traceparent"].split("-")[1], 1)
    assert "zebra" not in str(spans)


@pytest.mark.slow
def test_an_unresponsive_receiver_affects_neither_requests_nor_shutdown(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra 'otel' is not installed")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent_receiver,  # It accepts connections and never answers.
        tracing_server(tmp_path, f"http://127.0.0.1:{silent_receiver.getsockname()[1]}") as server,
    ):
        assert server.ask("echo").status_code == 200

        server.process.terminate()

        assert server.process.wait(TIMEOUT_S) == 0


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    program = "import sys, handler.servers.asgi.server; print([name for name in sys.modules if 'opentelemetry' in name])"

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"
