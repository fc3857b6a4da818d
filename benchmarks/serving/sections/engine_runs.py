"""Part 4: engines and precisions, with how far their labels agree with the first's; and part 5, what memory they take."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby

import numpy as np

from benchmarks.process_memory import Memory
from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.model_process import InProcess
from benchmarks.serving.results import EngineRun, Results
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Tell, Workspace
from handler.masks.label_map import LabelMap


def measure(space: Workspace, tell: Tell) -> Results:
    """Network by network, its engines by turns."""
    found: list[EngineRun] = []
    for _, members in groupby(space.plan.engines, lambda case: case.network):
        found += _of_one_network(space, list(members), tell)
    return Results(engines=tuple(found))


def _of_one_network(space: Workspace, cases: Sequence[Case], tell: Tell) -> list[EngineRun]:
    with ExitStack() as stack:
        tell(f"engines: loading {cases[0].network}")
        processes = {case: stack.enter_context(InProcess(space.unpacked(case))) for case in cases}
        rest = {case: process.memory() for case, process in processes.items()}
        taken: dict[Case, list[float]] = {case: [] for case in cases}
        for count in range(space.plan.rounds):
            for case, process in processes.items():
                tell(f"engines, round {count + 1} of {space.plan.rounds}: {case.name}")
                taken[case] += process.network_seconds(space.photo, space.plan.alone)
        maps = {case: process.label_maps(space.pictures) for case, process in processes.items()}
        for process in processes.values():
            process.stage_seconds(space.large_photo, "png", 1)
        peak = {case: process.memory().peak for case, process in processes.items()}
    return [
        EngineRun(case, Spread.of(taken[case]), _agreement(maps[case], maps[cases[0]]), Memory(rest[case].resident, peak[case]))
        for case in cases
    ]


def _agreement(maps: Sequence[LabelMap], expected: Sequence[LabelMap]) -> float:
    """Share of labels that are equal, over all pictures."""
    equal = [own == other for own, other in zip(maps, expected, strict=True)]
    return float(np.mean(np.concatenate([each.ravel() for each in equal])))
