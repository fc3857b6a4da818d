"""Part 3: the stages of an answer, one by one."""

from collections.abc import Iterator, Sequence

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.model_process import TOTAL, InProcess
from benchmarks.serving.results import LabelMaps, Results, Stages
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Tell, Workspace

_FORMATS = ("json", "png")


def measure(space: Workspace, tell: Tell) -> Results:
    stages: list[Stages] = []
    labels: list[LabelMaps] = []
    for case in space.plan.staged:
        with InProcess(space.unpacked(case)) as process:
            stages += _stages(space, case, process, tell)
            tell(f"label maps: {case.name}")
            runs = process.label_seconds(space.large_photo, space.plan.label_runs)
            labels.append(
                LabelMaps(case, space.plan.large[::-1], Spread.of(runs.ours), Spread.of(runs.reference), runs.agreement)
            )
    return Results(stages=tuple(stages), labels=tuple(labels))


def _stages(space: Workspace, case: Case, process: InProcess, tell: Tell) -> Iterator[Stages]:
    plan = space.plan
    photographs = ((plan.photo, space.photo, plan.photo_runs), (plan.large, space.large_photo, plan.large_runs))
    for (height, width), file, runs in photographs:
        for answer_format in _FORMATS:
            tell(f"stages: {case.name}, {width}×{height} as {answer_format}")
            taken = process.stage_seconds(file, answer_format, runs)
            yield _summed_up(case, (width, height), len(file), answer_format, taken)


def _summed_up(
    case: Case, size: tuple[int, int], file_bytes: int, answer_format: str, taken: Sequence[dict[str, float]]
) -> Stages:
    names = [name for name in taken[0] if name != TOTAL]
    stages = {name: Spread.of(run[name] for run in taken) for name in names}
    total = Spread.of(run[TOTAL] for run in taken)
    beyond = Spread.of(run[TOTAL] - run["network"] for run in taken)
    return Stages(case, size, file_bytes, answer_format, stages, total, beyond)
