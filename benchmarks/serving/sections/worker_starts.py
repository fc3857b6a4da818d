"""Part 5: how soon a server is ready, alone on the machine, and what its worker takes then."""

import time

import psutil

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.results import Results, Start
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Tell, Workspace


def measure(space: Workspace, tell: Tell) -> Results:
    return Results(starts=tuple(_start(space, case, tell) for case in space.plan.started))


def _start(space: Workspace, case: Case, tell: Tell) -> Start:
    archive = space.archive(case)
    whole, of_worker, resident = [], [], []
    for count in range(space.plan.starts):
        tell(f"start {count + 1} of {space.plan.starts}: {case.name}")
        begun = time.time()
        with space.serving([archive]) as (server,):
            ready = time.time()
            endpoint = Endpoint(server, space.photo)
            whole.append(ready - begun)
            of_worker.append(ready - psutil.Process(endpoint.worker()).create_time())
            resident.append(endpoint.memory().resident)
    return Start(case, Spread.of(whole), Spread.of(of_worker), max(resident))
