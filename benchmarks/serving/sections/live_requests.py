"""Parts 1 and 2: TorchServe's own handler and this bundle, both live, and the bare engines."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.model_process import InProcess
from benchmarks.serving.results import Gain, Ours, Requests, Results, Served
from benchmarks.serving.timing import Pace, Spread
from benchmarks.serving.workspace import Tell, Workspace

BASELINE = "TorchServe's image_segmenter"


@dataclass
class _Side:
    """What is gathered of one server, round by round."""

    endpoint: Endpoint
    #: Of a round with one client, and with several.
    alone: Pace
    together: Pace
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def round(self, clients: int) -> None:
        self.latencies += self.endpoint.latencies(self.alone)
        self.rates.append(self.endpoint.per_second(clients, self.together))

    def served(self) -> Served:
        size = len(self.endpoint.answer())
        return Served(Spread.of(self.latencies), Spread.of(self.rates), size, self.endpoint.memory())


@dataclass
class _OurSide(_Side):
    case: Case = field(kw_only=True)
    engine: InProcess = field(kw_only=True)
    network: list[float] = field(default_factory=list)

    def round(self, clients: int) -> None:
        super().round(clients)
        self.network += self.engine.network_seconds(self.endpoint.file, self.alone)


def measure(space: Workspace, tell: Tell) -> Results:
    """All servers and bare engines are up together, idle but for the one that is measured, by turns."""
    plan = space.plan
    with _sides(space, tell) as (baseline, ours):
        for side in (baseline, *ours):
            side.endpoint.answer()  # TorchServe's handler does not warm up.
        agreement = _agreement(space, baseline, [side for side in ours if side.case in plan.compared])
        for count in range(plan.rounds):
            for name, side in {BASELINE: baseline, **{each.case.name: each for each in ours}}.items():
                tell(f"requests, round {count + 1} of {plan.rounds}: {name}")
                side.round(plan.clients)
        theirs = baseline.served()
        found = tuple(_summed_up(side, theirs, agreement.get(side.case)) for side in ours)
        return Results(requests=Requests(plan.clients, theirs, found))


def _summed_up(side: _OurSide, theirs: Served, agreement: float | None) -> Ours:
    served = side.served()
    gain = None if agreement is None else Gain.of(served, theirs, agreement)
    return Ours(side.case, served, Spread.of(side.network), gain)


@contextmanager
def _sides(space: Workspace, tell: Tell) -> Iterator[tuple[_Side, list[_OurSide]]]:
    plan = space.plan
    cases = [*plan.compared, *plan.served]
    tell("requests: building the archives")
    archives = [space.archive(case) for case in cases]
    with ExitStack() as stack:
        tell("requests: starting the servers")
        first, *rest = stack.enter_context(space.serving([space.baseline(plan.compared[0]), *archives]))
        ours = [
            _OurSide(
                Endpoint(server, space.photo),
                plan.alone,
                plan.together,
                case=case,
                engine=stack.enter_context(InProcess(space.unpacked(case))),
            )
            for case, server in zip(cases, rest, strict=True)
        ]
        yield _Side(Endpoint(first, space.photo), plan.baseline_alone, plan.baseline_together), ours


def _agreement(space: Workspace, baseline: _Side, ours: Sequence[_OurSide]) -> dict[Case, float]:
    """Share of labels that are the same on both sides.

    Asked for a picture that nobody needs to scale, since TorchServe's handler leaves its answer at the network's resolution.
    """
    file = space.unscaled(space.plan.compared[0])

    def answer(side: _Side, **headers: str) -> bytes:
        return replace(side.endpoint, file=file, content_type="image/png", headers=headers).answer()

    expected = np.asarray(json.loads(answer(baseline)))[..., 0]
    found = {}
    for side in ours:
        labels = np.asarray(Image.open(io.BytesIO(answer(side, Accept="image/png"))))
        if labels.shape != expected.shape:
            raise ValueError(f"{side.case.name}: its mask has {labels.shape} pixels, {BASELINE} answers {expected.shape}")
        found[side.case] = float(np.mean(labels == expected))
    return found
