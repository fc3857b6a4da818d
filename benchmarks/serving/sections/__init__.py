"""The sections of the benchmark; each can be run by itself."""

from collections.abc import Callable

from benchmarks.serving.results import Results
from benchmarks.serving.sections import (
    answer_stages,
    bulk_runs,
    engine_runs,
    included_models,
    live_requests,
    server_comparison,
    worker_starts,
)
from benchmarks.serving.workspace import Report, Workspace

SECTIONS: dict[str, Callable[[Workspace, Report], Results]] = {
    "servers": server_comparison.measure,
    "models": included_models.measure,
    "requests": live_requests.measure,
    "stages": answer_stages.measure,
    "engines": engine_runs.measure,
    "starts": worker_starts.measure,
    "bulk": bulk_runs.measure,
}
