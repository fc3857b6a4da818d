"""TorchServe and the asgi server return the same bytes; features that only one of them has."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from handler.answers import FORMATS
from scripts.server import Ports, Server
from tests.live.client import TIMEOUT_S, error, post
from tests.live.routes import ROUTES, explanations_url, kserve_v1_url, kserve_v2_url
from tests.live.test_errors import broken_inputs

QUICK = {"scales": "0.25"}


@pytest.mark.parametrize("name", FORMATS)
def test_both_servers_give_the_same_bytes_in_every_format(
    torchserve: Server, asgi_server: Server, thumbnail: bytes, name: str
) -> None:
    by_torchserve = post(torchserve, thumbnail, {"X-Segment-Format": name, "X-Segment-Scales": "0.25"})
    routes = {route: ask for route, ask in ROUTES.items() if route != "gRPC"}

    answers = {route: ask(asgi_server, thumbnail, {**QUICK, "format": name}) for route, ask in routes.items()}

    assert by_torchserve.status_code == 200
    assert [route for route, answer in answers.items() if answer != by_torchserve.content] == []


def test_both_servers_give_the_same_explanations_and_errors(
    torchserve: Server, asgi_server: Server, thumbnail: bytes, photos: dict[str, Path]
) -> None:
    bodies = {"photo": thumbnail, **broken_inputs(photos["chelsea"].read_bytes())}
    json_bodies: list[object] = [[1], {"data": "?"}, {"instances": []}, {"inputs": [{"name": "a"}]}, {"hello": 1}, "text"]

    def ask(server: Server) -> dict[str, tuple[int, str, bytes]]:
        answers = {f"explain {name}": post_to(explanations_url(server), body) for name, body in bodies.items()}
        answers |= {f"predict {name}": post(server, body) for name, body in bodies.items() if name != "photo"}
        for url in (server.url, kserve_v1_url(server), kserve_v2_url(server)):
            answers |= {
                f"{url.partition('/v')[2]} {body}": requests.post(url, json=body, timeout=TIMEOUT_S) for body in json_bodies
            }
        return {name: (reply.status_code, reply.headers["content-type"], reply.content) for name, reply in answers.items()}

    expected, actual = ask(torchserve), ask(asgi_server)

    assert {name: (actual[name], value) for name, value in expected.items() if actual[name] != value} == {}


def test_the_query_string_may_hold_options(asgi_server: Server, thumbnail: bytes) -> None:
    png = post(asgi_server, thumbnail, {"X-Segment-Format": "png"}).content

    assert post(asgi_server, thumbnail, path="?format=png").content == png
    assert post(asgi_server, thumbnail, {"X-Segment-Format": "overlay"}, "?format=png").content == png
    assert post(asgi_server, thumbnail, path="/1.0/overlay?format=png").content == png
    field = requests.post(
        f"{asgi_server.url}?format=overlay", files={"data": thumbnail}, data={"format": "png"}, timeout=TIMEOUT_S
    )
    assert field.content == png
    assert error(post(asgi_server, thumbnail, path="?colour=red")) == (400, "InvalidOption")
    assert error(requests.post(f"{kserve_v1_url(asgi_server)}?alpha=2", thumbnail, timeout=TIMEOUT_S)) == (400, "InvalidOption")


def test_the_archive_runs_as_a_server_and_exits_with_0(served_archive: Path, tmp_path: Path, thumbnail: bytes) -> None:
    port = Ports.free().inference
    command = [sys.executable, str(served_archive), "--port", str(port), "--cache", str(tmp_path / "cache")]
    with (tmp_path / "log").open("wb") as log, ThreadPoolExecutor(8) as clients:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            while not _is_ready(port):
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            answers = [clients.submit(post_to, f"http://127.0.0.1:{port}/predictions/deeplabv3", thumbnail) for _ in range(16)]
            while not any(answer.done() for answer in answers):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            outcomes = [answer.exception() or answer.result().status_code for answer in answers]
            code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
            process.wait(TIMEOUT_S)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    accepted = [event["status"] for event in events if event.get("route", "").startswith("/predictions")]
    # The server refused the connections of the others.
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == accepted == [200] * len(accepted)
    assert accepted
    assert code == 0


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=TIMEOUT_S).ok
    except requests.ConnectionError:
        return False


def post_to(url: str, body: bytes) -> requests.Response:
    return requests.post(url, body, headers={"Content-Type": "application/octet-stream"}, timeout=TIMEOUT_S)
