"""Signs of life from real processes."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from handler.servers.asgi.heartbeat import Heartbeat
from tests.unit.handler.servers.asgi.support import until


@pytest.fixture
def busy() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def until_it_computes(process: psutil.Process) -> None:
    used = sum(process.cpu_times()[:2])
    until(lambda: sum(process.cpu_times()[:2]) > used)


def test_a_process_that_answers_lives() -> None:
    heartbeat = Heartbeat(psutil.Process().pid)

    for _ in range(5):
        assert heartbeat.beat()
        heartbeat.record_pong()
        assert heartbeat.silent_intervals == 0


def test_a_process_that_computes_without_an_answer_lives_and_is_asked_once(busy: psutil.Process) -> None:
    heartbeat = Heartbeat(busy.pid)
    asked = []
    for _ in range(5):
        until_it_computes(busy)
        asked.append(heartbeat.beat())

    assert asked == [True, False, False, False, False]
    assert heartbeat.silent_intervals == 0


def test_a_stopped_process_is_silent_until_it_goes_on(busy: psutil.Process) -> None:
    heartbeat = Heartbeat(busy.pid)
    busy.suspend()
    until(lambda: busy.status() == psutil.STATUS_STOPPED)
    heartbeat.beat()

    heartbeat.beat()
    heartbeat.beat()
    heartbeat.beat()

    assert heartbeat.silent_intervals == 3
    heartbeat.record_pong()
    assert heartbeat.silent_intervals == 0
