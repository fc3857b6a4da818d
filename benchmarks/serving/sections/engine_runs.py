"""Compare engines and precisions: network time, labels equal to the first's, and memory."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby

import numpy as np

from benchmarks.process_memory import ProcessMemory
from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.model_process import ModelProcess
from benchmarks.serving.results import EngineRun, Results
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Report, Workspace
from handler.masks.label_map import LabelMap


def measure(space: Workspace, report: Report) -> Results:
    """Measure one network after the other, taking its engines in turn within each round."""
    runs: list[EngineRun] = []
    for _, cases in groupby(space.plan.engines, lambda case: case.network):
        runs += _measure_network(space, list(cases), report)
    return Results(engines=tuple(runs))


def _measure_network(space: Workspace, cases: Sequence[Case], report: Report) -> list[EngineRun]:
    with ExitStack() as stack:
        report(f"engines: loading {cases[0].network}")
        processes = {case: stack.enter_context(ModelProcess(space.unpacked_archive(case))) for case in cases}
        idle_memory = {case: process.memory() for case, process in processes.items()}
        seconds: dict[Case, list[float]] = {case: [] for case in cases}
        for number in range(1, space.plan.rounds + 1):
            for case, process in processes.items():
                report(f"engines, round {number} of {space.plan.rounds}: {case.name}")
                seconds[case] += process.network_seconds(space.photo, space.plan.one_client)
        maps = {case: process.label_maps(space.samples) for case, process in processes.items()}
        for process in processes.values():
            process.stage_seconds(space.large_photo, "png", 1)
        peaks = {case: process.memory().peak for case, process in processes.items()}
    return [
        EngineRun(
            case,
            Spread.of(seconds[case]),
            _agreement(maps[case], maps[cases[0]]),
            ProcessMemory(idle_memory[case].resident, peaks[case]),
        )
        for case in cases
    ]


def _agreement(maps: Sequence[LabelMap], expected: Sequence[LabelMap]) -> float:
    """Return the share of equal labels over all photographs."""
    equal = [label_map == reference for label_map, reference in zip(maps, expected, strict=True)]
    return float(np.mean(np.concatenate([matches.ravel() for matches in equal])))
