"""Measure each stage of an answer, and the label map compared with torch's."""

from collections.abc import Iterator, Sequence

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.model_process import TOTAL, ModelProcess
from benchmarks.serving.results import AnswerStages, LabelMaps, Results
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Report, Workspace

_FORMATS = ("json", "png")


def measure(space: Workspace, report: Report) -> Results:
    stages: list[AnswerStages] = []
    labels: list[LabelMaps] = []
    for case in space.plan.staged:
        with ModelProcess(space.unpacked_archive(case)) as process:
            stages += _measure_stages(space, case, process, report)
            report(f"label maps: {case.name}")
            times = process.label_times(space.large_photo, space.plan.label_runs)
        size = space.plan.large[::-1]
        labels.append(LabelMaps(case, size, Spread.of(times.bundle), Spread.of(times.reference), times.agreement))
    return Results(stages=tuple(stages), labels=tuple(labels))


def _measure_stages(space: Workspace, case: Case, process: ModelProcess, report: Report) -> Iterator[AnswerStages]:
    plan = space.plan
    photographs = ((plan.photo, space.photo, plan.photo_runs), (plan.large, space.large_photo, plan.large_runs))
    for (height, width), file, runs in photographs:
        for answer_format in _FORMATS:
            report(f"stages: {case.name}, {width}×{height} as {answer_format}")
            seconds = process.stage_seconds(file, answer_format, runs)
            yield _summarize(case, (width, height), len(file), answer_format, seconds)


def _summarize(
    case: Case, size: tuple[int, int], file_bytes: int, answer_format: str, runs: Sequence[dict[str, float]]
) -> AnswerStages:
    names = [name for name in runs[0] if name != TOTAL]
    stages = {name: Spread.of(run[name] for run in runs) for name in names}
    total = Spread.of(run[TOTAL] for run in runs)
    overhead = Spread.of(run[TOTAL] - run["network"] for run in runs)
    return AnswerStages(case, size, file_bytes, answer_format, stages, total, overhead)
