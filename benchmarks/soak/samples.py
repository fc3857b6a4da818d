"""What a server's processes hold, read while it rests."""

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from benchmarks.process_memory import ProcessMemory, reset_peak
from scripts.server import Server

#: A worker gives memory back about a second after its last request; a busy machine takes longer.
REST_S = 4.0


@dataclass
class Requests:
    """How the requests of an interval ended."""

    ok: int = 0
    #: Statuses 400 to 499: the mixture has wrong requests.
    refused: int = 0
    #: Statuses from 500 on.
    failed: int = 0
    #: No whole answer.
    lost: int = 0

    def count(self, status: int | None) -> None:
        """Count a request by the status of its answer; None: there was none."""
        if status is None:
            self.lost += 1
        elif status >= 500:
            self.failed += 1
        elif status >= 400:
            self.refused += 1
        else:
            self.ok += 1


@dataclass(frozen=True)
class Sample:
    """The end of one interval. Sizes are megabytes (10⁶ bytes), times seconds."""

    elapsed: float
    requests: int
    ok: int
    refused: int
    failed: int
    lost: int
    #: Latency over all requests of the interval.
    median: float
    p95: float
    worker: int
    #: Resident memory of the worker at rest, and the most it was in the interval.
    worker_memory: float
    worker_peak: float
    front_memory: float
    worker_descriptors: int
    front_descriptors: int
    worker_threads: int
    front_threads: int


def worker_of(server: Server) -> int:
    """Return the id of the process of the server's only worker, 0 while there is none."""
    workers = server.workers()
    return int(str(workers[0]["pid"])) if workers else 0


def take(server: Server, elapsed: float, requests: Requests, latencies: Sequence[float]) -> Sample:
    """Let the server rest, then read what its processes hold; the peak begins anew.

    Raises:
        psutil.NoSuchProcess: the server or its worker has ended.
    """
    time.sleep(REST_S)
    worker, front = psutil.Process(worker_of(server)), psutil.Process(server.pid)
    memory, times = ProcessMemory.read(worker.pid), sorted(latencies) or [0.0]
    reset_peak(worker.pid)
    return Sample(
        elapsed=round(elapsed, 1),
        requests=len(latencies),
        **asdict(requests),
        median=round(times[len(times) // 2], 4),
        p95=round(times[int(len(times) * 0.95)], 4),
        worker=worker.pid,
        worker_memory=_megabytes(memory.resident),
        worker_peak=_megabytes(memory.peak),
        front_memory=_megabytes(ProcessMemory.read(front.pid).resident),
        worker_descriptors=worker.num_fds(),
        front_descriptors=front.num_fds(),
        worker_threads=worker.num_threads(),
        front_threads=front.num_threads(),
    )


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """Write a row per sample."""
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Sample)])
        rows.writeheader()
        rows.writerows(asdict(sample) for sample in samples)


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)
