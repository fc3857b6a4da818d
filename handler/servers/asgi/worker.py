"""A worker process: loads one model and answers the front process's requests until the front closes the socket."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from handler.answers import FORMATS
from handler.application import Call
from handler.archive import ModelArchive, read_archive
from handler.errors import SegmentationError, capture
from handler.network.views import EngineFault
from handler.options import ModelIdentity
from handler.request.protocols import Reply
from handler.request.protocols.envelope import error_reply
from handler.request.protocols.kserve_v2 import tensor_metadata
from handler.servers.asgi import frames
from handler.servers.asgi.http_calls import read_call
from handler.servers.asgi.messages import (
    THREADS_VARIABLE,
    VERSION,
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
from handler.servers.model_process import ServedModel, read_profile
from model import CheckpointError
from model.strict import ConfigurationError

_CANNOT_RECOVER = 1
#: Devices that GPU drivers create in /dev on Linux: NVIDIA (also on Jetson), AMD, and WSL.
_GPU_DEVICES = ("nvidia*", "nvmap", "kfd", "dxg")
#: A request of a hundred tiles at several scales has a thousand stages, more than a trace needs.
_MAX_TIMES = 200


class Worker:
    """Answers batches of requests, several at a time if the model's engine has lanes.

    Its threads take turns reading: the thread that reads a batch answers it while the next one reads. No batch has to be handed
    from one thread to another, and pings are answered however long the batches take.
    """

    def __init__(self, connection: socket.socket, model: ServedModel, max_bytes: int) -> None:
        self._connection = connection
        self._model = model
        self._max_bytes = max_bytes
        self._read_lock = threading.Lock()
        self._send_lock = threading.Lock()

    def run(self, ready: Ready) -> None:
        """Report READY, then answer until the front process closes the socket."""
        self._send(ready)
        for number in range(ready.batches):
            threading.Thread(target=self._serve, name=f"request_{number}", daemon=True).start()
        self._serve()

    def _serve(self) -> None:
        try:
            while isinstance(message := self._receive(), Batch | Ping):
                if isinstance(message, Batch):
                    self._answer(message)
                else:
                    self._send(Pong())
        except BaseException:
            # The front process would wait forever for this batch, but takes it back from a dead worker.
            logging.critical("a batch cannot be answered", exc_info=True)
            os._exit(_CANNOT_RECOVER)
        # The front process has closed the socket, so the batches still running are no longer needed.
        os._exit(0)

    def _receive(self) -> Message | None:
        with self._read_lock:
            return frames.receive(self._connection)

    def _answer(self, batch: Batch) -> None:
        seconds: Counter[str] = Counter()
        times: list[StageTime] = []
        max_times = _MAX_TIMES if any(request.traced for request in batch.requests) else 0
        lock = threading.Lock()

        def observe(stage: str, duration: float) -> None:
            end = time.monotonic()
            with lock:
                seconds[stage] += duration  # type: ignore[assignment]
                if len(times) < max_times:
                    times.append(StageTime(stage, end - duration, end))

        exchanges = [capture(_read_exchange, request, self._max_bytes) for request in batch.requests]
        calls = [exchange.call for exchange in exchanges if isinstance(exchange, _Exchange)]
        replies = iter(self._model.answer(calls, observe))
        stages = {stage: round(duration * 1000, 2) for stage, duration in seconds.items()}
        answers = [
            _refusal(exchange) if isinstance(exchange, SegmentationError) else exchange.answer(next(replies))
            for exchange in exchanges
        ]
        self._send(Answers(batch.number, [replace(answer, stages=stages, times=times) for answer in answers]))
        if self._model.application.failure is not None:
            self._send(Unhealthy(self._model.application.failure))
            os._exit(_CANNOT_RECOVER)

    def _send(self, message: Message) -> None:
        with self._send_lock:
            self._connection.sendall(frames.encode(message))


def load(folder: Path, name: str, index: int) -> tuple[ServedModel, Ready]:
    """Load the extracted archive in `folder` as the model `name`, on worker `index`'s GPU.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: the settings cannot be used.
        RefinementUnavailable: the settings refine by default, but the package for it is not installed.
    """
    archive = adapt(read_archive(folder), name, int(os.environ.get(THREADS_VARIABLE, 0)))
    model = ServedModel(archive, gpu_id=choose_gpu(index))
    return model, describe(archive, model)


def choose_gpu(index: int) -> int | None:
    """Return the GPU for worker `index`, assigned round-robin, or None if PyTorch finds none.

    PyTorch, whose import takes seconds, is not imported on machines without a GPU driver.
    """
    if sys.platform == "linux" and not any(path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)):
        return None
    import torch

    return index % torch.cuda.device_count() if torch.cuda.is_available() else None


def adapt(archive: ModelArchive, name: str, threads: int) -> ModelArchive:
    """Return an archive with this name and number of threads; 0 threads keeps the archive's own setting."""
    settings = archive.settings.model_copy(update={"threads": threads or archive.settings.threads})
    return replace(archive, identity=ModelIdentity(name, archive.identity.version), settings=settings)


def describe(archive: ModelArchive, model: ServedModel) -> Ready:
    """Return the model's description for the front process: concurrent calls if its engine has lanes, otherwise batches."""
    engine = model.application.pipeline.engine
    lanes = len(engine.lanes())
    return Ready(
        archive.identity.version,
        # One more than can run, so that a lane finds its next image decoded instead of waiting for the front process.
        batches=lanes + 1 if lanes > 1 else 1,
        requests_per_batch=1 if lanes > 1 else archive.batch_size,
        max_bytes=archive.settings.limits.max_bytes,
        platform=f"deeplab_{engine.name}",
        tensors=tensor_metadata(model.application.pipeline.labels),
        interface=Interface(
            options={name: option.json_schema() for name, option in model.application.options.items()},
            formats={name: (entry.content_type, entry.summary) for name, entry in FORMATS.items()},
            max_instances=archive.settings.limits.max_instances,
        ),
        profile=read_profile(archive, model.application.pipeline),
    )


def main(arguments: Sequence[str]) -> None:
    """Run a worker with the arguments that `workers.py` passes."""
    descriptor, folder, name, index, version = arguments
    # The front process handles signals to the whole group, and lets its workers finish first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=f"{name} %(process)d %(levelname)s %(name)s: %(message)s")
    connection = socket.socket(fileno=int(descriptor))
    try:
        if int(version) != VERSION:
            raise ConfigurationError(f"{folder}: packaged by another version of this project; package it again")
        model, ready = load(Path(folder), name, int(index))
    except (CheckpointError, ConfigurationError, EngineFault, SegmentationError) as error:
        connection.sendall(frames.encode(LoadFailed(str(error))))
        sys.exit(1)
    Worker(connection, model, ready.max_bytes).run(ready)


@dataclass(frozen=True)
class _Exchange:
    """A call, and a function that turns its reply into an answer."""

    call: Call
    answer: Callable[[Reply], Answer]


def _read_exchange(request: HttpRequest, max_bytes: int) -> _Exchange:
    if request.protocol == "http":
        return _Exchange(replace(read_call(request, max_bytes), sampled=request.sampled), _answer)
    from handler.servers.asgi.open_inference import conversion

    call, write = conversion.read_call(request)
    return _Exchange(replace(call, sampled=request.sampled), lambda reply: replace(_answer(reply), body=write(reply)))


def _refusal(error: SegmentationError) -> Answer:
    return _answer(error_reply(error, str(error)))


def _answer(reply: Reply) -> Answer:
    error = reply.error
    return Answer(
        error.status if error else 200,
        reply.content_type,
        reply.body,
        reply.headers,
        format=reply.format,
        images=reply.images,
        observations=reply.observations,
        error=type(error).__name__ if error else None,
    )
