"""Measure a request to each model on the server without Java, all live at the same time, and report each model's quality."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.model_process import ModelProcess
from benchmarks.serving.results import ModelRun, Quality, Results
from benchmarks.serving.timing import Spread
from benchmarks.serving.workspace import Report, Workspace
from handler.geometry import Size, network_size
from model import read_metadata


@dataclass
class _Side:
    """A model and its measurements, round by round."""

    case: Case
    endpoint: Endpoint
    engine: ModelProcess
    requests: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)

    def summarize(self, checkpoint: Path, photo: Size) -> ModelRun:
        metadata = read_metadata(checkpoint)
        # The last evaluation is on data that was not used to select the model.
        quality = None
        if metadata.evaluations:
            evaluation = metadata.evaluations[-1]
            quality = Quality(evaluation.dataset, evaluation.miou, evaluation.pixel_accuracy)
        height, width = network_size(metadata.resize, photo)
        times = Spread.of(self.requests), Spread.of(self.network)
        return ModelRun(self.case, *times, (width, height), checkpoint.stat().st_size, quality)


def measure(space: Workspace, report: Report) -> Results:
    """Measure each model in turn while the others are idle."""
    plan = space.plan
    report("models: building the archives")
    archives = [space.archive(case) for case in plan.models]
    with ExitStack() as stack:
        report("models: starting the servers")
        servers = stack.enter_context(space.serving(archives, "asgi"))
        sides = [
            _Side(case, Endpoint(server, space.photo), stack.enter_context(ModelProcess(space.unpacked_archive(case))))
            for case, server in zip(plan.models, servers, strict=True)
        ]
        for number in range(1, plan.rounds + 1):
            for side in sides:
                report(f"models, round {number} of {plan.rounds}: {side.case.name}")
                side.requests += side.endpoint.latencies(plan.one_client)
                side.network += side.engine.network_seconds(space.photo, plan.one_client)
        return Results(models=tuple(side.summarize(space.checkpoint(side.case), plan.photo) for side in sides))
