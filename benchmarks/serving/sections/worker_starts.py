"""Measure how soon a server is READY, with no other load, and the memory of its worker at that moment."""

import time

import psutil

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.model_process import ModelProcess
from benchmarks.serving.results import Results, WorkerStart
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Report, Workspace


def measure(space: Workspace, report: Report) -> Results:
    return Results(starts=tuple(_measure_case(space, case, report) for case in space.plan.started))


def _measure_case(space: Workspace, case: Case, report: Report) -> WorkerStart:
    archive = space.archive(case)
    server_seconds, worker_seconds, memories = [], [], []
    for number in range(1, space.plan.starts + 1):
        report(f"start {number} of {space.plan.starts}: {case.name}")
        start = time.time()
        with space.serving([archive]) as (server,):
            ready = time.time()
            endpoint = Endpoint(server, space.photo)
            server_seconds.append(ready - start)
            worker_seconds.append(ready - psutil.Process(endpoint.worker_pid()).create_time())
            memories.append(endpoint.worker_memory())
    with ModelProcess(space.unpacked_archive(case)) as process:
        without_server = process.memory()
    largest = max(memories, key=lambda memory: memory.peak)
    return WorkerStart(case, Spread.of(server_seconds), Spread.of(worker_seconds), largest, without_server)
