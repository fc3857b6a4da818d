"""How workers and the server end, and what replaces a worker: each test has a separate server with small workers."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.unit.handler.servers.asgi.support import TIMEOUT_S, fake_server, read_error, receive_all, until


@pytest.mark.slow
def test_a_deadline_is_504_and_a_hung_worker_is_replaced(tmp_path: Path) -> None:
    with fake_server(tmp_path, "--timeout", "1", "--hung-after", "0.2") as server:
        until(server.is_ready)

        assert read_error(server.ask("hang")) == (504, "DeadlineExceeded")

        until(lambda: server.events("worker ended"))
        assert "hung" in str(server.events("worker ended")[0]["reason"])
        until(server.is_ready)
        until(lambda: server.ask("echo").ok)  # A busy machine may take longer than the deadline.
        assert server.commands().count("hang") == 1


@pytest.mark.slow
def test_a_stopped_worker_is_replaced_and_its_requests_are_answered(tmp_path: Path) -> None:
    with fake_server(tmp_path, "--silent-after", "1.2") as server, ThreadPoolExecutor() as clients:
        until(server.is_ready)
        (worker,) = requests.get(f"{server.url}/models/fake", timeout=TIMEOUT_S).json()[0]["workers"]

        os.kill(worker["pid"], signal.SIGSTOP)
        answer = clients.submit(server.ask, "echo late")

        until(lambda: not server.is_ready())
        assert answer.result().text == "predict None  late"
        assert server.events("worker ended")[0]["reason"] == "hung: no sign of life within 1.2 s"


@pytest.mark.slow
def test_sigterm_finishes_accepted_requests_and_exits_with_0(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with fake_server(tmp_path) as server, ThreadPoolExecutor(6) as clients:
        until(server.is_ready)
        pending = [clients.submit(server.ask, f"wait {gate}") for _ in range(6)]
        until(lambda: server.queue_length() == 4)

        with server.connect() as probe:
            server.process.send_signal(signal.SIGTERM)
            until(lambda: server.events("draining"))
            probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
            assert receive_all(probe).startswith(b"HTTP/1.1 503 ")
        gate.touch()

        assert [answer.result().status_code for answer in pending] == [200] * 6
        assert server.process.wait(TIMEOUT_S) == 0
    assert server.events("ended")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["crash", "refuse"])
def test_a_model_that_cannot_be_started_is_not_ready_and_the_server_keeps_running(tmp_path: Path, start: str) -> None:
    with fake_server(tmp_path, environment={**os.environ, "FAKE_START": start}) as server:
        until(lambda: len(server.events("worker ended")) >= 3)

        assert read_error(server.ask("echo")) == (503, "ModelNotReady")
        assert requests.get(f"{server.url}/v2/health/live", timeout=TIMEOUT_S).json() == {"live": True}
        assert not server.is_ready()
        reason = str(server.events("worker ended")[0]["reason"])
        assert reason == {"crash": "exit code 3", "refuse": "cannot load the model: the checkpoint is a cake"}[start]


@pytest.mark.slow
def test_a_model_whose_engine_fails_is_not_ready_until_its_worker_is_replaced(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        until(server.is_ready)
        gate = tmp_path / "gate"
        # The next worker loads slowly, so that there is time to look.
        (server.folder / "gate").write_text(str(gate))

        assert server.ask("unhealthy the logits are not finite").status_code == 500

        until(lambda: server.events("worker ended"))
        paths = ["/ping", "/v2/health/ready", "/v2/models/fake/ready", "/v1/models/fake", "/v2/health/live"]
        statuses = [requests.get(server.url + path, timeout=TIMEOUT_S).status_code for path in paths]
        gate.touch()
        assert statuses == [503] * 4 + [200]
        assert server.events("worker ended")[0]["reason"] == "the logits are not finite"
        until(server.is_ready)
        assert server.ask("echo").status_code == 200
