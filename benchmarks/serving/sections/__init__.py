"""The sections of the benchmark; each can run on its own."""

from collections.abc import Callable

from benchmarks.serving.results import Results
from benchmarks.serving.sections import (
    answer_stages,
    bulk_runs,
    engine_runs,
    live_requests,
    served_models,
    server_comparison,
    worker_starts,
)
from benchmarks.serving.workspace import Report, Workspace

SECTIONS: dict[str, Callable[[Workspace, Report], Results]] = {
    "servers": server_comparison.measure,
    "models": served_models.measure,
    "requests": live_requests.measure,
    "stages": answer_stages.measure,
    "engines": engine_runs.measure,
    "starts": worker_starts.measure,
    "bulk": bulk_runs.measure,
}
