"""The server's routes in Ray Serve replicas, with small workers: limits, load, and a killed replica.

The contract's tests run against Ray Serve as well (`conftest.py`).
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
import yaml

from scripts.ray_serve.proxy_errors import CALLBACK, VARIABLE
from scripts.server import Ports
from tests.live.client import error
from tests.live.ray_server import ON_RAY, RayServer, serving_on_ray
from tests.support import ROOT
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, until, write_fake_archive

pytestmark = [*ON_RAY]
_SMALL = ["--cpus", "0.5", "--memory", "200000000"]
_OPTIONS = ["--replicas", "1:2", "--ongoing", "2", "--queued", "2", "--busy-after", "1", "--idle-after", "5", *_SMALL]
#: Ray Serve looks at the mean load of half a minute.
_SCALED_WITHIN_S = 300


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServer]:
    """Start one replica, or two under load."""
    folder = tmp_path_factory.mktemp("ray")
    with serving_on_ray(write_fake_archive(folder / "fake"), folder, *_OPTIONS) as server:
        yield server


def ask(url: str, command: str) -> requests.Response:
    return requests.post(f"{url.partition('/predictions')[0]}/predictions/fake", command, timeout=TIMEOUT_S)


def ask_until_answered(url: str, command: str) -> tuple[str, Counter[str]]:
    """Send a request again while it may be retried; return the answer's text and the errors before it."""
    errors: Counter[str] = Counter()
    deadline = time.monotonic() + _SCALED_WITHIN_S
    while time.monotonic() < deadline:
        try:
            response = ask(url, command)
        except requests.ConnectionError:
            errors["connection lost"] += 1
            continue
        if response.ok:
            return response.text, errors
        code, error_type = error(response)
        assert (code, response.headers["retry-after"]) == (503, "1")
        errors[error_type] += 1
        time.sleep(0.1)
    raise AssertionError(f"{command!r} was never answered: {errors}")


@contextmanager
def load(server: RayServer, released: Path) -> Iterator[None]:
    """Keep four requests in the service for the block."""

    def wait() -> None:
        while not released.exists():
            with suppress(requests.RequestException):  # A request that has waited long enough.
                ask(server.url, f"wait {released}")

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(wait) for _ in range(4)]
        try:
            yield
        finally:
            released.touch()
    for thread in waiting:
        thread.result()


def test_answers_and_errors_match_the_asgi_servers(small: RayServer) -> None:
    origin = small.endpoint("inference").url
    answer = requests.post(f"{small.url}?a=1", "echo x", timeout=TIMEOUT_S, headers={"X-Request-ID": "mine"})
    unknown, refused = requests.get(f"{origin}/nowhere", timeout=TIMEOUT_S), ask(small.url, "deny no such format")
    metadata = requests.get(f"{origin}/v2/models/fake", timeout=TIMEOUT_S)

    assert (answer.status_code, answer.text, answer.headers["X-Request-ID"]) == (200, "predict None a=1 x", "mine")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "PathNotFound")
    assert (refused.status_code, refused.json()["message"]) == (415, "no such format")
    assert metadata.json()["name"] == "fake"


def test_a_dead_worker_is_replaced_within_its_replica(small: RayServer) -> None:
    assert ask(small.url, "die").json()["type"] == "WorkerDied"
    assert ask_until_answered(small.url, "echo after")[0] == "predict None  after"


def test_requests_beyond_the_queue_get_503(small: RayServer, tmp_path: Path) -> None:
    released = tmp_path / "released"
    with ThreadPoolExecutor(20) as threads:
        futures = [threads.submit(ask, small.url, f"wait {released}") for _ in range(20)]
        until(lambda: any(future.done() for future in futures))
        released.touch()
        answers = [future.result() for future in futures]

    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {(*error(answer), answer.headers["Retry-After"]) for answer in refused} == {(503, "QueueFull", "1")}


def test_load_starts_a_second_replica_which_stops_without_load(small: RayServer, tmp_path: Path) -> None:
    until(lambda: len(small.replicas()) == 1, _SCALED_WITHIN_S)

    with load(small, tmp_path / "released"):
        until(lambda: len(small.replicas()) == 2, _SCALED_WITHIN_S)

    until(lambda: len(small.replicas()) == 1, _SCALED_WITHIN_S)
    assert ask(small.url, "echo still").text == "predict None  still"


def test_retries_recover_every_request_lost_with_a_killed_replica(
    small: RayServer, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with load(small, tmp_path / "released"):
        until(lambda: len(small.replicas()) == 2, _SCALED_WITHIN_S)

    def send(number: int) -> tuple[str, Counter[str]]:
        if number == 100:
            os.kill(small.replicas()[0].pid, signal.SIGKILL)
        return ask_until_answered(small.url, f"echo {number}")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(300)))

    assert [text for text, _ in answers] == [f"predict None  {number}" for number in range(300)]
    record_property("sent_again", dict(sum((errors for _, errors in answers), Counter())))


def test_serve_run_accepts_the_kuberay_configuration(tmp_path: Path) -> None:
    archive, port = write_fake_archive(tmp_path / "fake"), Ports.free().inference
    service = yaml.safe_load((ROOT / "deploy" / "ray" / "rayservice.yaml").read_text())
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    config["applications"][0]["args"] |= {"archive": str(archive), "cpus": 0.5, "memory": 200_000_000}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))

    for _ in range(3):  # Ray gives its processes 30 s to start; a busy machine may take longer.
        with _serve_run(tmp_path) as process:
            until(lambda: _answers(port) or process.poll() is not None, _SCALED_WITHIN_S)
            if process.poll() is None:
                answered, refused = ask(f"http://127.0.0.1:{port}", "echo x"), ask(f"http://127.0.0.1:{port}", "deny no")
                break
    else:
        pytest.fail((tmp_path / "console").read_text())

    assert (answered.status_code, answered.text) == (200, "predict None  x")
    assert refused.status_code == 415


@contextmanager
def _serve_run(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Ray Serve's own program with the configuration in a folder and the image's environment."""
    variables = {"PYTHONPATH": str(ROOT), VARIABLE: CALLBACK, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
    variables["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.serve.scripts", "run", str(folder / "serve.yaml")],
            cwd=folder,
            env=os.environ | variables,
            stdout=console,
            stderr=console,
        )
    with process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}", "echo").ok
    except requests.RequestException:
        return False
