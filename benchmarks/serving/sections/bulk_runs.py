"""Compare `scripts.bulk` with the bare engine: images per second, JPEG files to palette PNGs."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.serving.model_process import ModelProcess
from benchmarks.serving.results import BulkComparison, BulkRun, Results
from benchmarks.serving.timing import Pace, Spread
from benchmarks.serving.workspace import Report, Workspace
from scripts.bulk.executors.engines import usable_cores
from scripts.errors import UserError

_ROOT = Path(__file__).parents[3]
#: The package that an executor needs, by its name for `--engine`.
_REQUIRED_PACKAGES: Mapping[str, str] = {"ray": "ray"}


@dataclass
class _Side:
    """Measurements of one executor, round by round."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def measure(space: Workspace, report: Report) -> Results:
    """Measure the engine alone and each executor in turn, within each round."""
    plan = space.plan
    jobs = plan.bulk_jobs or usable_cores()
    names = [name for name in plan.bulk_engines if find_spec(_REQUIRED_PACKAGES.get(name, "sys"))]
    photographs, archive = _photographs(space), space.archive(plan.compared_server)
    sides = {name: _Side() for name in names}
    all_core_rates: list[float] = []
    process_rates: list[float] = []
    for number in range(1, plan.rounds + 1):
        stage = f"bulk, round {number} of {plan.rounds}"
        report(f"{stage}: the bare engine")
        all_core_rates.append(_engine_rate(space, 1, usable_cores()))
        process_rates.append(all_core_rates[-1] if jobs == 1 else _engine_rate(space, jobs, max(1, usable_cores() // jobs)))
        for name, side in sides.items():
            report(f"{stage}: --engine {name}")
            out = space.folder / "bulk" / f"{name}-{number}"
            side.seconds.append(_run(photographs, archive, out, name, jobs))
            side.rates.append(_steady_rate(_finish_times(out)))
    runs = tuple(BulkRun(name, Spread.of(side.rates), Spread.of(side.seconds)) for name, side in sides.items())
    left_out = tuple(name for name in plan.bulk_engines if name not in names)
    engines = Spread.of(all_core_rates), Spread.of(process_rates)
    return Results(bulk=BulkComparison(plan.compared_server, plan.bulk_images, jobs, *engines, runs, left_out))


def _photographs(space: Workspace) -> Path:
    folder = space.folder / "bulk" / "photographs"
    folder.mkdir(parents=True)
    for number in range(space.plan.bulk_images):
        (folder / f"{number:06}.jpg").write_bytes(space.photo)
    return folder


def _engine_rate(space: Workspace, processes: int, threads: int) -> float:
    """Return the images per second of the engine alone, in concurrent processes."""
    with ExitStack() as stack:
        models = [
            stack.enter_context(ModelProcess(space.unpacked_archive(space.plan.compared_server), threads))
            for _ in range(processes)
        ]

        def seconds(model: ModelProcess) -> list[float]:
            return model.network_seconds(space.photo, space.plan.bulk_engine)

        for model in models:  # All are loaded before any is timed.
            model.network_seconds(space.photo, Pace(1))
        with ThreadPoolExecutor(processes) as pool:
            return sum(1 / Spread.of(durations).median for durations in pool.map(seconds, models))


def _run(photographs: Path, archive: Path, out: Path, engine: str, jobs: int) -> float:
    """Run the program as users do, and return its duration in seconds."""
    command = [sys.executable, "-m", "scripts.bulk", str(photographs), "--archive", str(archive), "--out", str(out)]
    start = time.perf_counter()
    result = subprocess.run(
        [*command, "--engine", engine, "--jobs", str(jobs)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"scripts.bulk --engine {engine} failed: {result.stderr.strip()[-1000:]}")
    return time.perf_counter() - start


def _finish_times(out: Path) -> list[float]:
    """Return the times when images were finished, in seconds, sorted."""
    import pyarrow.parquet as pq

    return sorted(moment.timestamp() for moment in pq.read_table(out / "manifest").column("finished").to_pylist())


def _steady_rate(times: Sequence[float]) -> float:
    """Return the images per second without the first and last tenth, since processes do not start and end simultaneously."""
    edge = max(1, len(times) // 10)
    inner = times[edge:-edge]
    return (len(inner) - 1) / (inner[-1] - inner[0])
