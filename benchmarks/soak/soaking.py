"""Send a mixture of requests to one server, and sample it at intervals."""

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.calls import Caller, Mixture
from benchmarks.soak.samples import Requests, Sample, take_sample
from scripts.server import Ports, Software, serving

_CLIENTS = 2


@dataclass(frozen=True)
class Plan:
    """What to send, for how long and how fast."""

    archive: Path
    seconds: float
    #: The most requests per second, and seconds between samples.
    rate: float
    interval: float


def soak(software: Software, plan: Plan, stop: threading.Event) -> Iterator[Sample]:
    """Start a server, send it requests and yield a sample after each interval, until the time is over or `stop` is set.

    Raises:
        ServerError: the server does not start.
        psutil.NoSuchProcess: the server has ended.
    """
    ports = Ports.free()
    options = ("--grpc-port", str(ports.grpc_inference)) if software == "asgi" else ()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(plan.archive, ports, Path(folder), software=software, options=options) as server,
    ):
        caller, mixture, start = Caller(server), Mixture(server.model), time.monotonic()
        while not stop.is_set() and time.monotonic() - start < plan.seconds:
            requests, latencies = _interval(caller, mixture, plan, stop)
            yield take_sample(server, time.monotonic() - start, requests, latencies)
        caller.close()


def _interval(caller: Caller, mixture: Mixture, plan: Plan, stop: threading.Event) -> tuple[Requests, list[float]]:
    """Send requests for one interval, and return how they ended and the seconds each took."""
    deadline, requests, latencies = time.monotonic() + plan.interval, Requests(), []
    lock = threading.Lock()

    def keep_sending() -> None:
        while time.monotonic() < deadline and not stop.is_set():
            with lock:
                call = mixture.next()
            start = time.monotonic()
            status = caller.send(call)
            seconds = time.monotonic() - start
            with lock:
                requests.count(status)
                latencies.append(seconds)
            stop.wait(max(0.0, _CLIENTS / plan.rate - seconds))

    with ThreadPoolExecutor(_CLIENTS) as clients:
        for future in [clients.submit(keep_sending) for _ in range(_CLIENTS)]:
            future.result()
    return requests, latencies
