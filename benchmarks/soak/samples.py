"""Samples of the memory, descriptors and threads of an idle server's processes."""

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from benchmarks.process_memory import ProcessMemory, reset_peak
from scripts.server import Server

#: A worker releases memory about a second after its last request; on a busy machine it takes longer.
IDLE_S = 4.0


@dataclass
class Requests:
    """How the requests of an interval ended."""

    ok: int = 0
    #: Statuses 400 to 499; the mixture contains invalid requests.
    refused: int = 0
    #: Statuses of 500 and above.
    failed: int = 0
    #: No complete answer.
    lost: int = 0

    def count(self, status: int | None) -> None:
        """Count a request by its status, or None if it got no complete answer."""
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
    """The state at the end of one interval. Sizes are in megabytes (10⁶ bytes), times in seconds."""

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
    #: Resident memory of the idle worker, and its peak in the interval.
    worker_memory: float
    worker_peak: float
    front_memory: float
    worker_descriptors: int
    front_descriptors: int
    worker_threads: int
    front_threads: int


def worker_pid(server: Server) -> int:
    """Return the process id of the server's only worker, or 0 while it has none."""
    workers = server.workers()
    return int(str(workers[0]["pid"])) if workers else 0


def take_sample(server: Server, elapsed: float, requests: Requests, latencies: Sequence[float]) -> Sample:
    """Wait until the server is idle, then sample its processes and reset the peak.

    Raises:
        psutil.NoSuchProcess: the server or its worker has ended.
    """
    time.sleep(IDLE_S)
    worker, front = psutil.Process(worker_pid(server)), psutil.Process(server.pid)
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
