"""The front process: paths, errors, limits and the requests of dead workers; real processes, small workers."""

import gzip
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, read_error, receive_all, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    with fake_server(tmp_path_factory.mktemp("server"), "--queue", "5") as running:
        until(running.is_ready)
        yield running


@pytest.fixture(scope="module")
def impatient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    """Run a server with short timeouts; its clients stop sending, so they time out on a busy machine too."""
    timeouts = ("--header-timeout", "0.3", "--body-timeout", "0.3")
    with fake_server(tmp_path_factory.mktemp("impatient"), *timeouts) as running:
        until(running.is_ready)
        yield running


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/predictions/fake?a=1", "predict None a=1 x"),
        ("PUT", "/predictions/fake/1.0", "predict None  x"),
        ("POST", "/predictions/fake/1.0/png", "predict png  x"),
        ("POST", "/explanations/fake/1.0/", "explain None  x"),
        ("POST", "/v1/models/fake:predict", "predict None  x"),
        ("POST", "/v1/models/fake:explain", "explain None  x"),
        ("POST", "/v2/models/fake/infer", "predict None  x"),
        ("POST", "/v2/models/fake/versions/1.0/infer", "predict None  x"),
        ("POST", "/invocations?a=1", "predict None a=1 x"),
        ("POST", "//predictions//fake/", "predict None  x"),
        ("POST", "/predictions/%66ak%65/1.0/png/", "predict png  x"),
        ("POST", "/v1/models/fake%3Apredict/", "predict None  x"),
    ],
)
def test_a_path_selects_the_action_and_the_format(server: FakeServer, method: str, path: str, content: str) -> None:
    response = requests.request(method, server.url + path, data=b"echo x", timeout=TIMEOUT_S)

    assert (response.status_code, response.text) == (200, content)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/ping", {"status": "Healthy"}),
        ("/v1/models/fake", {"name": "fake", "ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/fake/ready", {"name": "fake", "ready": True}),
        ("/v2/models/fake/versions/1.0/ready", {"name": "fake", "ready": True}),
    ],
)
def test_probes_are_answered_to_get_and_head(server: FakeServer, path: str, content: object) -> None:
    assert requests.get(server.url + path, timeout=TIMEOUT_S).json() == content
    head = requests.head(server.url + path, timeout=TIMEOUT_S)
    assert (head.status_code, head.content) == (200, b"")


def test_metadata_lists_inputs_and_the_model_describes_itself(server: FakeServer) -> None:
    metadata = requests.get(f"{server.url}/v2/models/fake", timeout=TIMEOUT_S).json()
    (description,) = requests.get(f"{server.url}/models/fake?customized=true", timeout=TIMEOUT_S).json()

    assert (metadata["versions"], metadata["inputs"][0]["datatype"]) == (["1.0"], "BYTES")
    assert description["customizedMetadata"] == {"is": "a fake"}
    assert [worker["status"] for worker in description["workers"]] == ["READY"]


def test_the_openapi_document_covers_the_served_models(server: FakeServer) -> None:
    response = requests.get(f"{server.url}/openapi.json", timeout=TIMEOUT_S)

    assert response.headers["content-type"] == "application/json"
    assert response.json()["openapi"].startswith("3.1.")
    assert "/predictions/fake" in response.json()["paths"]
    assert requests.get(f"{server.url}/openapi.json", timeout=TIMEOUT_S).content == response.content


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/models/fake?customized=2", (400, "InvalidRequest")),
        ("GET", "/nothing", (404, "PathNotFound")),
        ("POST", "/predictions/other", (404, "ModelNotFound")),
        ("POST", "/predictions/fake/2.0", (404, "ModelNotFound")),
        ("GET", "/predictions/fake", (405, "MethodNotAllowed")),
        ("DELETE", "/v1/models/fake:predict", (405, "MethodNotAllowed")),
        ("PATCH", "/ping", (405, "MethodNotAllowed")),
    ],
)
def test_unknown_paths_models_and_methods_have_the_documented_body(
    server: FakeServer, method: str, path: str, expected: tuple[int, str]
) -> None:
    response = requests.request(method, server.url + path, timeout=TIMEOUT_S)

    assert read_error(response) == expected
    assert ("allow" in response.headers) == (expected[0] == 405)


def test_options_names_the_methods(server: FakeServer) -> None:
    response = requests.options(f"{server.url}/predictions/fake", timeout=TIMEOUT_S)

    assert (response.status_code, response.headers["allow"]) == (204, "POST, PUT, OPTIONS")


@pytest.mark.parametrize(("request_id", "is_valid"), [("abc-1", True), ('x" injected', False), ("a" * 129, False)])
def test_a_valid_request_id_is_echoed_and_logged(server: FakeServer, request_id: str, is_valid: bool) -> None:
    response = server.ask("echo", headers={"X-Request-ID": request_id})

    assert (response.headers["x-request-id"] == request_id) == is_valid
    assert server.request_line(response)["id"] == response.headers["x-request-id"]


def test_the_log_has_stages_and_no_client_data(server: FakeServer) -> None:
    response = server.ask("large 2000", headers={"X-Secret": "s3cret"}, params={"q": "s3cret"})

    line = server.request_line(response)
    assert (line["model"], line["status"]) == ("fake", 200)
    assert isinstance(line["ms"], dict)
    assert list(line["ms"]) == ["read", "queue", "network", "total"]
    assert "s3cret" not in server.requests_file.read_text()


def test_the_log_names_formats_and_errors(server: FakeServer) -> None:
    responses = [
        server.ask("answer png 3"),
        server.ask("refuse InvalidImage"),
        requests.get(f"{server.url}/predictions/fake", timeout=TIMEOUT_S),
    ]

    answer, worker_error, front_error = map(server.request_line, responses)
    assert (answer["format"], answer.get("type")) == ("png", None)
    assert (worker_error.get("format"), worker_error["type"]) == (None, "InvalidImage")
    assert (front_error.get("format"), front_error["type"]) == (None, "MethodNotAllowed")


def test_json_is_compressed_on_request(server: FakeServer) -> None:
    def fetch(encoding: str, size: int) -> requests.Response:
        return server.ask(f"large {size}", headers={"Accept-Encoding": encoding}, stream=True)

    small, plain, declined, compressed = fetch("gzip", 100), fetch("", 9000), fetch("gzip;q=0", 9000), fetch("gzip", 9000)

    assert [response.headers.get("content-encoding") for response in (small, plain, declined, compressed)] == [
        *[None] * 3,
        "gzip",
    ]
    assert gzip.decompress(compressed.raw.read()) == plain.content == declined.content
    assert compressed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_413(server: FakeServer, chunked: bool) -> None:
    limit = 30_000 * 4 // 3 + (1 << 20)
    body = bytes(limit + 1)

    response = server.ask(iter([body[:70_000]] * 20) if chunked else body)  # type: ignore[arg-type]

    assert read_error(response) == (413, "BodyTooLarge")
    assert f"{limit:,}" in response.json()["message"]
    assert response.headers["connection"] == "close"


def test_an_incomplete_body_is_408_and_closed(impatient_server: FakeServer) -> None:
    with impatient_server.connect() as connection:
        connection.sendall(b"POST /predictions/fake HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nechoecho")
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"type":"RequestTimeout"' in answer


@pytest.mark.parametrize("data", [b"", b"POST /predictions/fake HTTP/1.1\r\nHost"])
def test_incomplete_headers_are_408_and_closed(impatient_server: FakeServer, data: bytes) -> None:
    with impatient_server.connect() as connection:
        connection.sendall(data)
        assert receive_all(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"POST /predictions/fake HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_http_is_400_and_closed(server: FakeServer, data: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(data)
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "MalformedRequest"


def test_options_of_the_server_names_the_methods(server: FakeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"allow: GET, HEAD, POST, PUT, OPTIONS\r\n" in answer


def test_a_full_queue_is_503_with_retry_after(server: FakeServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(7) as clients:
        pending = [clients.submit(server.ask, f"wait {gate}") for _ in range(7)]
        until(lambda: server.queue_length() == 5)

        response = server.ask("echo")
        gate.touch()

        assert [answer.result().status_code for answer in pending] == [200] * 7
    assert read_error(response) == (503, "QueueFull")
    assert int(response.headers["retry-after"]) >= 1


def test_a_request_whose_client_hung_up_reaches_no_worker(server: FakeServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    with ThreadPoolExecutor(2) as clients:
        pending = [clients.submit(server.ask, f"wait {gate}") for _ in range(2)]
        until(lambda: server.commands().count(f"wait {gate}") == 2)
        with server.connect() as connection:
            connection.sendall(b"POST /predictions/fake HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\necho gone")
            until(lambda: server.queue_length() == 1)
        until(lambda: server.queue_length() == 0)
        gate.touch()
        assert [answer.result().status_code for answer in pending] == [200] * 2
    server.ask("echo here")

    assert "echo gone" not in server.commands()
    until(lambda: 499 in [line["status"] for line in server.request_lines()])


def test_the_requests_of_a_dead_worker_are_retried_once(server: FakeServer, tmp_path: Path) -> None:
    innocent, lethal = f"hang-once {tmp_path / 'innocent'}", f"die-once {tmp_path / 'lethal'}"
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.ask, innocent)
        until(lambda: innocent in server.commands())
        second = clients.submit(server.ask, lethal)

        assert [first.result().status_code, second.result().status_code] == [200, 200]
    assert server.events("worker ended")[-1]["reason"] == "signal SIGKILL"


def test_a_request_that_kills_two_workers_is_500_and_the_other_one_is_answered(server: FakeServer, tmp_path: Path) -> None:
    innocent = f"hang-once {tmp_path / 'innocent'}"
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.ask, innocent)
        until(lambda: innocent in server.commands())
        second = clients.submit(server.ask, "die")

        assert first.result().status_code == 200
        assert read_error(second.result()) == (500, "WorkerDied")


def test_more_connections_than_the_limit_are_503_and_closed(tmp_path: Path) -> None:
    with fake_server(tmp_path, "--connections", "2") as server, server.connect(), server.connect() as second:
        second.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert second.recv(1000).startswith(b"HTTP/1.1 200 ")  # Now both connections are open.
        with server.connect() as third:
            answer = receive_all(third)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer


@pytest.mark.slow
def test_a_batching_engine_receives_waiting_requests_together(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with (
        fake_server(tmp_path, environment={**os.environ, "FAKE_TAKES": "1x3"}) as server,
        ThreadPoolExecutor(4) as clients,
    ):
        until(server.is_ready)
        first = clients.submit(server.ask, f"wait {gate}")
        until(lambda: len(server.commands()) == 1)
        batch = [clients.submit(server.ask, f"echo {number}") for number in range(3)]
        until(lambda: server.queue_length() == 3)
        gate.touch()

        assert [answer.result().status_code for answer in [first, *batch]] == [200] * 4
        assert sorted(server.commands()[1:]) == ["echo 0", "echo 1", "echo 2"]


def test_the_front_process_imports_no_numeric_library_and_stays_small(server: FakeServer) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    resident = Path(f"/proc/{server.process.pid}/status").read_text().partition("VmRSS:")[2].split()[0]

    assert [name for name in ("numpy", "torch", "openvino") if f"site-packages/{name}/" in maps] == []
    assert int(resident) < 60_000
