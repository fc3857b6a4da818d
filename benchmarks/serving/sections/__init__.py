"""The parts of the benchmark, each of which can be run by itself."""

from collections.abc import Callable

from benchmarks.serving.results import Results
from benchmarks.serving.sections import answer_stages, engine_runs, live_requests, worker_starts
from benchmarks.serving.workspace import Tell, Workspace

SECTIONS: dict[str, Callable[[Workspace, Tell], Results]] = {
    "requests": live_requests.measure,
    "stages": answer_stages.measure,
    "engines": engine_runs.measure,
    "starts": worker_starts.measure,
}
