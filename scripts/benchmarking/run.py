"""A run of a plan: its sections, then table, JSON and picture."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from handler.network.engines.openvino_engine import native_precision
from scripts.benchmarking import engines, requests_live, stages, starts
from scripts.benchmarking.bars import draw
from scripts.benchmarking.machine import Machine, this_machine, versions
from scripts.benchmarking.plan import Plan
from scripts.benchmarking.results import Requests, Results
from scripts.benchmarking.table import report
from scripts.benchmarking.targets import Target, targets
from scripts.benchmarking.workspace import Tell, Workspace

#: What can be run by itself.
SECTIONS: dict[str, Callable[[Workspace, Tell], Results]] = {
    "requests": requests_live.measure,
    "stages": stages.measure,
    "engines": engines.measure,
    "starts": starts.measure,
}


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
