"""A run of a plan: its sections, then table, JSON and picture."""

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
from benchmarks.serving.report.markdown_tables import report
from benchmarks.serving.report.targets import Target, targets
from benchmarks.serving.results import Requests, Results
from benchmarks.serving.sections import SECTIONS
from benchmarks.serving.workspace import Workspace
from handler.network.engines.openvino_engine import native_precision


def run(plan: Plan, sections: Sequence[str], out: Path) -> str:
    """Measure the sections named, write bench.md, bench.json and bench.png into `out`, and give the first's text.

    Raises:
        ServerError: a server does not start.
        WrongAnswer: one answers with an error.
    """
    plan = plan.on(native_precision())
    results, begun = Results(), time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - begun:4.0f} s  {what}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="deeplab-bench-") as folder:
        space = Workspace(plan, Path(folder))
        for name in sections:
            results = _with(results, SECTIONS[name](space, tell))
    out.mkdir(parents=True, exist_ok=True)
    machine, reached = this_machine(), targets(results if plan.telling else Results())
    content = _content(plan, results, machine, reached)
    (out / "bench.json").write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if results.requests or results.stages or results.engines:
        draw(out / "bench.png", results)
    text = report(results, reached, machine, versions())
    (out / "bench.md").write_text(text)
    return text


def _with(results: Results, part: Results) -> Results:
    """`results`, and what `part` has."""
    return replace(results, **{each.name: value for each in fields(part) if (value := getattr(part, each.name))})


def _content(plan: Plan, results: Results, machine: Machine, reached: Sequence[Target]) -> dict[str, Any]:
    return {
        "machine": asdict(machine),
        "versions": versions(),
        "plan": asdict(plan),
        "results": asdict(results),
        "around": _around(results.requests) if results.requests else [],
        "targets": [{**asdict(each), "reached": each.reached} for each in reached],
    }


def _around(requests: Requests) -> list[dict[str, Any]]:
    return [
        {
            "case": asdict(each.case),
            "seconds": each.around,
            "share_of_request": each.around_share,
            "share_of_bare_throughput": each.throughput_share,
        }
        for each in requests.ours
    ]
