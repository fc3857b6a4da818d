"""gRPC beside HTTP: the same queue, access checks, log and shutdown. Real processes, small workers."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from handler.servers.asgi.access import OPERATE, PREDICT, append_token, make_token
from handler.servers.asgi.command import main
from handler.servers.asgi.open_inference.server import read_max_bytes
from tests.certificates import make_certificate
from tests.unit.handler.servers.asgi.grpc_calls import Client, connect, infer_request, read_error
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server, until, write_fake_archive

SERVING, NOT_SERVING = 1, 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    with fake_server(tmp_path_factory.mktemp("server"), "--grpc-port", "0", "--queue", "2") as running:
        until(running.is_ready)
        yield running


@pytest.fixture(scope="module")
def client(server: FakeServer) -> Iterator[Client]:
    with connect(server.grpc_address) as running:
        yield running


def test_probes_and_metadata(client: Client) -> None:
    assert client.ask("ServerLive").live
    assert client.ask("ServerReady").ready
    assert client.ask("ModelReady", name="fake", version="1.0").ready
    assert client.ask("ServerMetadata").extensions == ["binary_tensor_data"]
    metadata = client.ask("ModelMetadata", name="fake")
    assert (metadata.versions, metadata.inputs[0].datatype, metadata.inputs[0].shape) == (["1.0"], "BYTES", [-1])
    assert [client.health(name) for name in ("", "fake", "inference.GRPCInferenceService")] == [SERVING] * 3


def test_a_call_is_answered_and_logged_like_http(server: FakeServer, client: Client) -> None:
    call = client.infer.with_call(infer_request("echo hello"), metadata=[("x-request-id", "abc-1")], timeout=TIMEOUT_S)

    assert call[0].id == "hello"
    assert ("x-request-id", "abc-1") in [(entry.key, entry.value) for entry in call[1].trailing_metadata()]
    until(lambda: server.request_lines()[-1]["id"] == "abc-1")
    line = server.request_lines()[-1]
    assert (line["route"], line["model"], line["status"]) == ("/inference.GRPCInferenceService/ModelInfer", "fake", 200)
    assert isinstance(line["ms"], dict)
    assert list(line["ms"]) == ["queue", "total"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (infer_request("echo x", "other"), ("NOT_FOUND", "ModelNotFound", "no model 'other' here; the served models are fake")),
        (infer_request("echo x", model_version="7"), ("NOT_FOUND", "ModelNotFound", "not served in version '7'")),
        (infer_request("deny a PDF"), ("INVALID_ARGUMENT", "UnsupportedImageFormat", "a PDF")),
        (b"\x0a\xff", ("INVALID_ARGUMENT", "InvalidRequest", "the message is not a request for /inference.GRPCInf")),
        (infer_request("echo " + "x" * 1_200_000), ("RESOURCE_EXHAUSTED", "BodyTooLarge", "the limit is 1,088,576")),
        (infer_request("echo " + "x" * 50_000_000), ("RESOURCE_EXHAUSTED", None, "larger than max")),
    ],
)  # fmt: skip
def test_an_error_has_a_code_a_type_and_the_message_of_http(
    client: Client, request_: object, expected: tuple[str, str | None, str]
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.infer(request_, timeout=TIMEOUT_S)

    code, reason, message = expected
    assert error.value.code().name == code
    assert message in error.value.details()
    assert reason is None or read_error(error.value) == {"code": code, "reason": reason, "retry-after": None}


@pytest.mark.parametrize("text", ["x" * 20_000, "é" * 1_400, "数" * 1_400])
def test_a_long_message_fits_into_headers(client: Client, text: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.send_command(f"deny {text}")

    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith(text[:100])


def test_a_health_check_of_an_unknown_service_is_not_found(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.health("other")

    assert read_error(error.value)["code"] == "NOT_FOUND"


def test_a_full_queue_has_retry_after_and_abandoned_calls_reach_no_worker(
    server: FakeServer, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    waiting = [client.infer.future(infer_request(f"wait {gate}"), timeout=TIMEOUT_S) for _ in range(2)]
    until(lambda: server.commands().count(f"wait {gate}") == 2)
    cancelled = client.infer.future(infer_request("echo cancelled"), timeout=TIMEOUT_S)
    until(lambda: server.queue_length() == 1)
    expiring = client.infer.future(infer_request("echo late"), timeout=0.5)
    until(lambda: server.queue_length() == 2)

    with pytest.raises(grpc.RpcError) as error:
        client.send_command("echo x")
    full = read_error(error.value)
    cancelled.cancel()
    assert expiring.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: server.queue_length() == 0)
    gate.touch()

    assert [call.result().id for call in waiting] == [str(gate)] * 2
    assert (full["code"], full["reason"], full["retry-after"]) == ("RESOURCE_EXHAUSTED", "QueueFull", str(full["delay"]))
    assert full["delay"] >= 1
    assert {"echo cancelled", "echo late"}.isdisjoint(server.commands())
    # The server notices an expired call by its own clock (504) or because the client hangs up (499), whichever is first.
    until(lambda: sum(map(statuses(server).count, (499, 504))) >= 2 and {499, 503} <= set(statuses(server)))


def statuses(server: FakeServer) -> list[object]:
    """Return the statuses of the inference requests that the server has logged."""
    return [line["status"] for line in server.request_lines() if str(line["route"]).endswith("ModelInfer")]


@pytest.mark.slow
def test_the_deadline_of_the_server_applies(tmp_path: Path) -> None:
    with fake_server(tmp_path, "--grpc-port", "0", "--timeout", "0.3") as server, connect(server.grpc_address) as client:
        until(server.is_ready)
        with pytest.raises(grpc.RpcError) as error:
            client.send_command("wait for-ever")

    assert read_error(error.value)["code"] == "DEADLINE_EXCEEDED"
    assert read_error(error.value)["reason"] == "DeadlineExceeded"


@pytest.mark.slow
def test_sigterm_finishes_accepted_calls(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with fake_server(tmp_path, "--grpc-port", "0") as server, connect(server.grpc_address) as client:
        until(server.is_ready)
        call = client.infer.future(infer_request(f"wait {gate}"), timeout=TIMEOUT_S)
        until(lambda: server.commands() == [f"wait {gate}"])
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.events("draining"))
        until(lambda: is_unavailable(server.grpc_address))
        gate.touch()

        assert call.result().id == str(gate)
        assert server.process.wait(TIMEOUT_S) == 0


@pytest.mark.slow
def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with fake_server(tmp_path, "--grpc-port", "0") as server, connect(server.grpc_address) as client:
        until(server.is_ready)
        call = client.infer.future(infer_request("wait for-ever"), timeout=TIMEOUT_S)
        until(server.commands)
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.events("draining"))

        assert server.process.wait(TIMEOUT_S) == 0
        assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.slow
def test_tokens_and_tls_work_as_for_http(tmp_path: Path) -> None:
    certificate, tokens = make_certificate(tmp_path), tmp_path / "tokens"
    secrets = {}
    for scope in (PREDICT, OPERATE):
        secrets[scope], token = make_token([scope], scope)
        append_token(tokens, token)
    credentials = grpc.ssl_channel_credentials(certificate.file.read_bytes())
    tls = ["--certificate", str(certificate.file), "--key", str(certificate.key)]
    with fake_server(tmp_path, "--grpc-port", "0", "--tokens", str(tokens), *tls) as server:
        address = server.grpc_address.replace("127.0.0.1", "localhost")
        with connect(address, credentials) as client:
            until(lambda: client.ask("ServerReady").ready)
            codes = [code_of(client, "echo x", ("authorization", f"Bearer {secret}")) for secret in (*secrets.values(), "x")]
            codes.append(code_of(client, "echo x"))
            assert codes == ["OK", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNAUTHENTICATED"]
            assert client.health() == SERVING
            assert client.ask("ModelReady", [("authorization", f"Bearer {secrets[OPERATE]}")], name="fake").ready


def test_a_port_in_use_is_reported_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = write_fake_archive(tmp_path / "fake")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["--model", f"fake={fake}", "--port", "0", "--grpc-port", str(port)]) == 1

    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: cannot listen on 127.0.0.1 port {port}: Address alre")


def test_missing_packages_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = write_fake_archive(tmp_path / "fake")
    monkeypatch.setattr("handler.servers.asgi.command._GRPC_PACKAGES", {"nothing.here": "grpcio"})

    assert main(["--model", f"fake={fake}", "--grpc-port", "0"]) == 2
    assert "grpcio" in capsys.readouterr().err


def test_the_limit_of_an_image_is_read_from_the_archive(tmp_path: Path) -> None:
    assert read_max_bytes(tmp_path) == 32_000_000
    (tmp_path / "MAR-INF").mkdir()
    (tmp_path / "MAR-INF" / "MANIFEST.json").write_text('{"model": {"configFile": "served.yaml"}}')
    (tmp_path / "served.yaml").write_text("handler: {limits: {max_bytes: 77}}")
    assert read_max_bytes(tmp_path) == 77


def code_of(client: Client, command: str, *metadata: tuple[str, str]) -> str:
    try:
        client.send_command(command, metadata=metadata)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def is_unavailable(address: str) -> bool:
    with connect(address) as client:
        return code_of(client, "echo x") == "UNAVAILABLE"
