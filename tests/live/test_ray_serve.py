"""The server's routes in replicas of Ray Serve, over small workers: limits, and a replica that is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import requests

from scripts.ray_cluster import INSTALL_RAY
from scripts.server import Ports
from tests.support import ROOT
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, until, write_fake_archive

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(find_spec("ray") is None, reason=f"Ray is not installed; {INSTALL_RAY}"),
]
_OPTIONS = ["--replicas", "2", "--ongoing", "2", "--queued", "2", "--cpus", "0.5", "--memory", "200000000"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start two replicas, and give their address; starting them takes half a minute."""
    archive, port = write_fake_archive(tmp_path_factory.mktemp("archive") / "fake"), Ports.free().inference
    program = [sys.executable, "-m", "scripts.ray_serve", "--archive", str(archive), "--port", str(port), *_OPTIONS]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("ready: ") for line in process.stdout)
            yield f"http://127.0.0.1:{port}"
            process.terminate()
            assert process.wait(timeout=120) == 0
        finally:
            process.kill()


def ask(url: str, command: str) -> requests.Response:
    return requests.post(f"{url}/predictions/fake", command, timeout=TIMEOUT_S)


def ask_until_answered(url: str, command: str) -> tuple[str, int]:
    """Return the answer's text, and how often the request was sent."""
    for attempt in range(1, 200):
        try:
            response = ask(url, command)
        except requests.ConnectionError:
            continue
        if response.ok:
            return response.text, attempt
    raise AssertionError(f"{command!r} was never answered")


def test_answers_and_errors_are_those_of_the_server(url: str) -> None:
    answer = requests.post(f"{url}/predictions/fake?a=1", "echo x", timeout=TIMEOUT_S, headers={"X-Request-ID": "mine"})
    unknown, refused = requests.get(f"{url}/nowhere", timeout=TIMEOUT_S), ask(url, "deny no such format")
    metadata = requests.get(f"{url}/v2/models/fake", timeout=TIMEOUT_S)

    assert (answer.status_code, answer.text) == (200, "predict None a=1 x")
    assert set(answer.headers["X-Request-ID"].split(", ")) == {"mine"}
    assert (unknown.status_code, unknown.json()["type"]) == (404, "PathNotFound")
    assert (refused.status_code, refused.json()["message"]) == (415, "no such format")
    assert metadata.json()["name"] == "fake"


def test_a_worker_that_dies_is_replaced_within_its_replica(url: str) -> None:
    assert ask(url, "die").json()["type"] == "WorkerDied"
    assert ask_until_answered(url, "echo after")[0] == "predict None  after"


def test_more_requests_than_may_wait_get_503_and_the_others_their_answers(url: str, tmp_path: Path) -> None:
    released = tmp_path / "released"
    with ThreadPoolExecutor(20) as threads:
        sent = [threads.submit(ask, url, f"wait {released}") for _ in range(20)]
        until(lambda: any(one.done() for one in sent))
        released.touch()
        answers = [one.result() for one in sent]

    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 503}


def test_a_killed_replica_loses_nothing_that_a_retry_does_not_answer(
    url: str, record_property: Callable[[str, object], None]
) -> None:
    (model,) = requests.get(f"{url}/models/fake", timeout=TIMEOUT_S).json()
    replica = psutil.Process(model["workers"][0]["pid"]).parent()
    assert replica is not None

    def send(number: int) -> tuple[str, int]:
        if number == 100:
            os.kill(replica.pid, signal.SIGKILL)
        return ask_until_answered(url, f"echo {number}")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, range(300)))

    assert [text for text, _ in answers] == [f"predict None  {number}" for number in range(300)]
    record_property("sent_again", sum(attempts > 1 for _, attempts in answers))
