"""What a worker reports to the front process about its answers, over a real socket."""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.network.engines import Engine, Logits, Pixels
from handler.options import ModelIdentity
from handler.request.protocols import Reply
from handler.servers.asgi import frames
from handler.servers.asgi.messages import Answers, Batch, HttpRequest, Message, Ping, Pong, Unhealthy
from handler.servers.asgi.worker import Worker, adapt, describe
from handler.settings import HandlerSettings
from handler.stages import Observer
from tests.engines import ColourEngine, LanedEngine, build_pipeline
from tests.support import encode, noise

PHOTO = encode(noise(20, 30))


class BreakableEngine(ColourEngine):
    """An engine whose logits are not finite once `broken` is set."""

    broken = False

    def logits(self, pixels: Pixels) -> Logits:
        logits = super().logits(pixels)
        return np.full_like(logits, np.nan) if self.broken else logits


class Front:
    """The other end of a worker's socket."""

    def __init__(self, connection: socket.socket, worker: Worker, engine: BreakableEngine) -> None:
        self.engine = engine
        self._connection = connection
        self._worker = worker

    def send(self, *requests: HttpRequest) -> None:
        self._worker._answer(Batch(7, requests))

    def receive(self) -> Message | None:
        return frames.receive(self._connection)


@pytest.fixture
def front(tmp_path: Any) -> Iterator[Front]:
    engine = BreakableEngine()
    archive = ModelArchive(tmp_path, tmp_path / "model.safetensors", ModelIdentity("m", "1"), HandlerSettings())
    application = Application(archive, build_pipeline(engine))
    front_socket, worker_socket = socket.socketpair()
    with front_socket, worker_socket:
        worker = Worker(worker_socket, SimpleNamespace(application=application, answer=application.answer), 1 << 20)  # type: ignore[arg-type]
        yield Front(front_socket, worker, engine)


def predict(body: bytes, *, traced: bool = False) -> HttpRequest:
    return HttpRequest("r", "predict", "png", {"content-type": "application/octet-stream"}, body=body, traced=traced)


def test_answers_have_their_format_images_and_error(front: Front) -> None:
    front.send(predict(PHOTO), predict(b"broken"))

    message = front.receive()
    assert isinstance(message, Answers)
    answer, refusal = message.answers
    assert (answer.format, answer.images, answer.error) == ("png", 1, None)
    assert (refusal.format, refusal.images, refusal.error) == (None, 0, "InvalidImage")


def test_the_times_of_stages_are_sent_only_for_traced_requests(front: Front) -> None:
    front.send(predict(PHOTO))
    front.send(predict(PHOTO, traced=True))

    plain, traced = front.receive(), front.receive()
    assert isinstance(plain, Answers)
    assert isinstance(traced, Answers)
    assert plain.answers[0].times == []
    times = traced.answers[0].times
    assert [time.stage for time in times] == list(traced.answers[0].stages)
    assert all(time.began <= time.ended for time in times)
    assert [time.began for time in times] == sorted(time.began for time in times)


def test_a_worker_reports_why_its_engine_failed_after_its_answer_and_exits(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    exit_codes: list[int] = []
    monkeypatch.setattr(os, "_exit", exit_codes.append)
    front.engine.broken = True

    front.send(predict(PHOTO))

    answers, last = front.receive(), front.receive()
    assert isinstance(answers, Answers)
    assert (answers.answers[0].status, answers.answers[0].error) == (500, "InternalError")
    assert isinstance(last, Unhealthy)
    assert "not finite" in last.reason
    assert exit_codes == [1]


@pytest.mark.parametrize(("engine", "capacity"), [(LanedEngine(), (3, 1)), (ColourEngine(), (1, 4))], ids=["lanes", "batches"])
def test_a_worker_accepts_a_request_more_than_it_has_lanes(engine: Engine, capacity: tuple[int, int], tmp_path: Path) -> None:
    archive = ModelArchive(tmp_path, tmp_path / "model", ModelIdentity("m", "1"), HandlerSettings(), batch_size=4)
    application = Application(archive, build_pipeline(engine))

    ready = describe(archive, SimpleNamespace(application=application))  # type: ignore[arg-type]

    assert (ready.batches, ready.requests_per_batch) == capacity


def test_a_ping_is_answered_while_every_batch_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    finish, ended = threading.Event(), threading.Semaphore(0)

    def answer(calls: Sequence[Call], _: Observer) -> list[Reply]:
        assert finish.wait(60)
        return [Reply(b"done") for _ in calls]

    monkeypatch.setattr(os, "_exit", lambda _: ended.release())
    model = SimpleNamespace(answer=answer, application=SimpleNamespace(failure=None))
    ready = SimpleNamespace(batches=2)
    front_socket, worker_socket = socket.socketpair()
    with front_socket, worker_socket:
        worker = Worker(worker_socket, model, 1 << 20)  # type: ignore[arg-type]
        threading.Thread(target=worker.run, args=[ready], daemon=True).start()
        frames.receive(front_socket)
        for number in range(2):
            front_socket.sendall(frames.encode(Batch(number, [predict(PHOTO)])))
        front_socket.sendall(frames.encode(Ping()))

        assert isinstance(frames.receive(front_socket), Pong)
        finish.set()
        answers = [frames.receive(front_socket) for _ in range(2)]
        assert {message.number for message in answers if isinstance(message, Answers)} == {0, 1}
        front_socket.shutdown(socket.SHUT_WR)
        # Each of its three threads would end the process.
        assert all(ended.acquire(timeout=60) for _ in range(3))


@pytest.mark.parametrize(("threads", "expected"), [(0, 4), (1, 1)])
def test_the_server_may_set_the_threads_of_a_model(threads: int, expected: int, tmp_path: Path) -> None:
    archive = ModelArchive(tmp_path, tmp_path / "model", ModelIdentity("file", "1"), HandlerSettings(threads=4))

    adapted_archive = adapt(archive, "served", threads)

    assert (adapted_archive.identity.name, adapted_archive.settings.threads) == ("served", expected)
