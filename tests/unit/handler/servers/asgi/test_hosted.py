"""The server's routes inside another ASGI server: lifespan protocol, requests, and workers that end with it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psutil
import pytest
import requests
import uvicorn

from handler.servers.asgi.hosted import HostedFront
from handler.servers.asgi.options import ServerOptions
from handler.servers.asgi.unpack import UnpackError
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, until, write_fake_archive


def make_front(folder: Path) -> HostedFront:
    return HostedFront(ServerOptions({"fake": folder}, threads=3), {"fake": folder})


@contextmanager
def uvicorn_running(application: HostedFront) -> Iterator[str]:
    """Run plain uvicorn in a thread, as a user would; yield its URL."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, lifespan="on", log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)


def worker_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "handler.servers.asgi.worker" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_another_server_hosts_the_routes_during_its_lifespan(tmp_path: Path) -> None:
    with uvicorn_running(make_front(write_fake_archive(tmp_path))) as url:
        answers = [
            requests.post(f"{url}/predictions/fake?a=1", body, timeout=TIMEOUT_S) for body in ("echo x", "die", "threads")
        ]
        ready = requests.get(f"{url}/v2/health/ready", timeout=TIMEOUT_S)
        assert len(worker_processes()) == 1

    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert [answers[0].text, answers[2].text] == ["predict None a=1 x", "predict None a=1 3"]
    assert ready.json() == {"ready": True}
    assert worker_processes() == []


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_fails_the_lifespan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_START", "refuse")
    messages: list[dict[str, str]] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        messages.append(message)

    asyncio.run(make_front(write_fake_archive(tmp_path))({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]

    (failure,) = messages
    assert failure["type"] == "lifespan.startup.failed"
    assert "'fake'" in failure["message"]
    assert "cannot load the model: the checkpoint is a cake" in failure["message"]
    assert worker_processes() == []


def test_an_archive_without_this_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnpackError, match="package it again"):
        make_front(tmp_path)
