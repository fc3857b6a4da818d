"""Run the sections of a plan and write table, JSON and picture."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.serving.benchmark_plan import Plan
from benchmarks.serving.report.bar_chart import draw
from benchmarks.serving.report.machine import Machine, this_machine, versions
from benchmarks.serving.report.markdown_tables import write_report
from benchmarks.serving.report.targets import Target, targets
from benchmarks.serving.results import Requests, Results
from benchmarks.serving.sections import SECTIONS
from benchmarks.serving.workspace import Workspace
from handler.image.process import prepare_process
from handler.network.engines.openvino_engine import native_precision


def run_benchmark(plan: Plan, sections: Sequence[str], out: Path) -> str:
    """Measure `sections`, write bench.md, bench.json and bench.png into `out`, and return the text of bench.md.

    Raises:
        ServerError: a server does not start.
        UnexpectedAnswer: a server answers with an error.
    """
    prepare_process()
    plan = plan.on(native_precision())
    results, start = Results(), time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - start:4.0f} s  {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="deeplab-bench-") as folder:
        space = Workspace(plan, Path(folder))
        for name in sections:
            results = _merge(results, SECTIONS[name](space, report))
    out.mkdir(parents=True, exist_ok=True)
    machine, verdicts = this_machine(), targets(results if plan.checks_targets else Results())
    content = _content(plan, results, machine, verdicts)
    (out / "bench.json").write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if results.requests or results.stages or results.engines:
        draw(out / "bench.png", results)
    text = write_report(results, verdicts, machine, versions())
    (out / "bench.md").write_text(text)
    return text


def _merge(results: Results, section: Results) -> Results:
    """Return `results` with the fields that `section` has measured."""
    return replace(results, **{field.name: value for field in fields(section) if (value := getattr(section, field.name))})


def _content(plan: Plan, results: Results, machine: Machine, verdicts: Sequence[Target]) -> dict[str, Any]:
    return {
        "machine": asdict(machine),
        "versions": versions(),
        "plan": asdict(plan),
        "results": asdict(results),
        "overhead": _overhead(results.requests) if results.requests else [],
        "targets": [{**asdict(target), "reached": target.reached} for target in verdicts],
    }


def _overhead(requests: Requests) -> list[dict[str, Any]]:
    return [
        {
            "case": asdict(run.case),
            "seconds": run.overhead,
            "share_of_request": run.overhead_share,
            "share_of_bare_throughput": run.throughput_share,
        }
        for run in requests.bundle
    ]
