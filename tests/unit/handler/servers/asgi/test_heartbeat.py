"""Signs of life from real processes."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from handler.servers.asgi.heartbeat import Heartbeat
from tests.unit.handler.servers.asgi.support import until


@pytest.fixture
def busy_process() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def until_it_computes(process: psutil.Process) -> None:
    cpu_seconds = sum(process.cpu_times()[:2])
    until(lambda: sum(process.cpu_times()[:2]) > cpu_seconds)


def test_a_process_that_answers_is_alive() -> None:
    heartbeat = Heartbeat(psutil.Process().pid)

    for _ in range(5):
        assert heartbeat.beat()
        heartbeat.record_pong()
        assert heartbeat.silent_intervals == 0


def test_a_busy_process_is_alive_and_pinged_once(busy_process: psutil.Process) -> None:
    heartbeat = Heartbeat(busy_process.pid)
    pings = []
    for _ in range(5):
        until_it_computes(busy_process)
        pings.append(heartbeat.beat())

    assert pings == [True, False, False, False, False]
    assert heartbeat.silent_intervals == 0


def test_a_stopped_process_is_silent_until_it_answers(busy_process: psutil.Process) -> None:
    heartbeat = Heartbeat(busy_process.pid)
    busy_process.suspend()
    until(lambda: busy_process.status() == psutil.STATUS_STOPPED)
    heartbeat.beat()

    heartbeat.beat()
    heartbeat.beat()
    heartbeat.beat()

    assert heartbeat.silent_intervals == 3
    heartbeat.record_pong()
    assert heartbeat.silent_intervals == 0
