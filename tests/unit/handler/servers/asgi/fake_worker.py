"""A worker that does what the request body says. It replaces the real worker in an archive.

`echo TEXT`, `large N` (bytes of JSON), `wait FILE` (until it exists), `die`, `die-once FILE`, `hang`, `hang-once FILE`,
`threads`, `answer FORMAT IMAGES`, `observe CLASS BRIGHTNESS` (an image of one class), `observe-then-die FILE`,
`refuse TYPE`, `deny MESSAGE` (415), `unhealthy REASON` (after the answer).
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from handler.drift import Reference, collect
from handler.observation import SAMPLE_SIDE, Observation
from handler.profile import Profile
from handler.servers.asgi import frames
from handler.servers.asgi.messages import (
    THREADS_VARIABLE,
    Answer,
    Answers,
    Batch,
    HttpRequest,
    Interface,
    LoadFailed,
    Message,
    Ping,
    Pong,
    Ready,
    StageTime,
    Unhealthy,
)

#: Milliseconds of the stages of an answer.
STAGES = {"decode": 2.0, "network": 30.0, "encode": 1.0}

TENSORS = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}], "outputs": []}


_SCORE = {"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": "^[01]$", "default": 0, "description": ""}
INTERFACE = Interface({"min_score": _SCORE}, {"json": ("application/json", "")}, max_instances=16)


def observe(index: int, brightness: float, request: HttpRequest | None = None) -> Observation:
    """Return the statistics of an image of one megapixel and one class."""
    sample = array("H", [index] * SAMPLE_SIDE**2).tobytes() if request and request.sampled else b""
    return Observation(1.0, brightness, 0.9, 0.1, {index: 1.0}, sample)


PROFILE = Profile(
    ("background", "cat", "dog"), "fake", "float32", (0.9999, 0.999), Reference("photos", collect([observe(0, 0.5)] * 100, 3))
)


def main(arguments: Sequence[str]) -> None:
    descriptor, folder, name, *_ = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = socket.socket(fileno=int(descriptor))
    if line := os.environ.get("FAKE_PRINT"):
        os.write(1, f"{line}\n".encode())
    start = os.environ.get("FAKE_START", "")
    if start == "crash":
        sys.exit(3)
    if start == "refuse":
        send(connection, LoadFailed("the checkpoint is a cake"))
        sys.exit(1)
    gate = Path(folder) / "gate"
    while gate.exists() and not Path(gate.read_text()).exists():
        time.sleep(0.005)
    batches, requests_per_batch = map(int, os.environ.get("FAKE_TAKES", "2x1").split("x"))
    profile = PROFILE if name == "fake" else replace(PROFILE, classes=PROFILE.classes[::-1])
    ready = Ready("1.0", batches, requests_per_batch, 30_000, "fake", TENSORS, INTERFACE, profile)
    send(connection, ready)
    send_lock = threading.Lock()
    while isinstance(batch := frames.receive(connection), Batch | Ping):
        if isinstance(batch, Ping):
            with send_lock:
                send(connection, Pong())
            continue
        threading.Thread(target=answer, args=(connection, send_lock, batch, Path(folder) / "commands"), daemon=True).start()
    os._exit(0)


def answer(connection: socket.socket, send_lock: threading.Lock, batch: Batch, commands_file: Path) -> None:
    answers = [answer_one(request, commands_file) for request in batch.requests]
    with send_lock:
        send(connection, Answers(batch.number, answers))
        if bytes(batch.requests[0].body).startswith(b"unhealthy "):
            send(connection, Unhealthy(bytes(batch.requests[0].body).decode().removeprefix("unhealthy ")))
            os._exit(1)


def answer_one(request: HttpRequest, commands_file: Path) -> Answer:
    if request.action == "describe":
        return Answer(200, "application/json", b'{"is":"a fake"}')
    if request.protocol == "grpc":
        return answer_grpc(request, commands_file)
    command, _, argument = bytes(request.body).decode().partition(" ")
    with commands_file.open("a") as file:
        file.write(f"{command} {argument}".strip()[:200] + "\n")
    if command == "answer":
        name, images = argument.split()
        times = [StageTime(stage, time.monotonic(), time.monotonic()) for stage in STAGES if request.traced]
        observations = [observe(0, 0.5, request)] * int(images)
        return Answer(
            200, "image/png", b"", stages=STAGES, times=times, format=name, images=int(images), observations=observations
        )
    if command == "observe-then-die":  # The first of two workers answers, the second dies.
        if Path(argument).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        Path(argument).touch()
        return answer_one(replace(request, body=b"observe 0 0.5"), commands_file)
    if command == "observe":
        index, brightness = argument.split()
        observation = observe(int(index), float(brightness), request)
        return Answer(200, "image/png", b"observed", format="png", images=1, observations=[observation])
    if command in ("refuse", "unhealthy"):
        return Answer(500 if command == "unhealthy" else 400, "application/json", b"{}", error=argument)
    if command == "deny":
        body = {"error": argument, "code": 415, "type": "UnsupportedImageFormat", "message": argument}
        return Answer(415, "application/json", json.dumps(body).encode())
    if command == "large":
        return Answer(200, "application/json", b'"' + b"a" * int(argument) + b'"', stages={"network": 1.5})
    if command == "threads":
        argument = os.environ[THREADS_VARIABLE]
    wait_or_die(command, Path(argument))
    return Answer(200, "text/plain", f"{request.action} {request.format} {request.query} {argument}".encode())


def answer_grpc(request: HttpRequest, commands_file: Path) -> Answer:
    """Do what the only element of the first input says; the answer's id is the word returned by `echo`."""
    from handler.servers.asgi.open_inference.messages import message_class, parse

    message = parse("inference.ModelInferRequest", request.body)
    assert message is not None
    command = message.inputs[0].contents.bytes_contents[0]
    answer = answer_one(replace(request, protocol="http", body=command), commands_file)
    if answer.content_type != "text/plain":
        return answer
    name = answer.body.decode().rpartition(" ")[2]
    return replace(answer, body=message_class("inference.ModelInferResponse")(id=name).SerializeToString())


def wait_or_die(command: str, file: Path) -> None:
    is_first = command.endswith("-once") and not file.exists()
    if command == "wait":
        while not file.exists():
            time.sleep(0.005)
    if is_first:
        file.touch()
    if command == "die" or (command == "die-once" and is_first):
        os.kill(os.getpid(), signal.SIGKILL)
    if command == "hang" or (command == "hang-once" and is_first):
        threading.Event().wait()


def send(connection: socket.socket, message: Message) -> None:
    connection.sendall(frames.encode(message))
