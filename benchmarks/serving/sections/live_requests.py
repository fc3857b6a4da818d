"""Compare TorchServe's own handler, this bundle, and the bare engines, all live at the same time."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.endpoint import Endpoint
from benchmarks.serving.model_process import ModelProcess
from benchmarks.serving.results import BundleRequests, Gain, LiveServer, Requests, Results
from benchmarks.serving.timing import Pace, Spread
from benchmarks.serving.workspace import Report, Workspace

BASELINE = "TorchServe's image_segmenter"


@dataclass
class _Side:
    """Measurements of one server, round by round."""

    endpoint: Endpoint
    #: How long a round lasts with one client, and with several.
    one_client: Pace
    several_clients: Pace
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def measure_round(self, clients: int) -> None:
        self.latencies += self.endpoint.latencies(self.one_client)
        self.rates.append(self.endpoint.per_second(clients, self.several_clients))

    def summarize(self) -> LiveServer:
        answer_bytes, memory = len(self.endpoint.answer()), self.endpoint.worker_memory()
        return LiveServer(Spread.of(self.latencies), Spread.of(self.rates), answer_bytes, memory)


@dataclass
class _BundleSide(_Side):
    case: Case = field(kw_only=True)
    engine: ModelProcess = field(kw_only=True)
    network: list[float] = field(default_factory=list)

    def measure_round(self, clients: int) -> None:
        super().measure_round(clients)
        self.network += self.engine.network_seconds(self.endpoint.file, self.one_client)


def measure(space: Workspace, report: Report) -> Results:
    """Start all servers and bare engines, then measure them in turn while the others are idle."""
    plan = space.plan
    with _sides(space, report) as (baseline, bundle):
        for side in (baseline, *bundle):
            side.endpoint.answer()  # TorchServe's handler does not warm up.
        agreement = _agreement(space, baseline, [side for side in bundle if side.case in plan.compared])
        for number in range(1, plan.rounds + 1):
            for name, side in {BASELINE: baseline, **{side.case.name: side for side in bundle}}.items():
                report(f"requests, round {number} of {plan.rounds}: {name}")
                side.measure_round(plan.clients)
        reference = baseline.summarize()
        runs = tuple(_summarize(side, reference, agreement.get(side.case)) for side in bundle)
        return Results(requests=Requests(plan.clients, reference, runs))


def _summarize(side: _BundleSide, baseline: LiveServer, agreement: float | None) -> BundleRequests:
    live = side.summarize()
    gain = None if agreement is None else Gain.compare(live, baseline, agreement)
    return BundleRequests(side.case, live, Spread.of(side.network), gain)


@contextmanager
def _sides(space: Workspace, report: Report) -> Iterator[tuple[_Side, list[_BundleSide]]]:
    plan = space.plan
    cases = [*plan.compared, *plan.served]
    report("requests: building the archives")
    archives = [space.archive(case) for case in cases]
    with ExitStack() as stack:
        report("requests: starting the servers")
        baseline, *servers = stack.enter_context(space.serving([space.baseline(plan.compared[0]), *archives]))
        bundle = [
            _BundleSide(
                Endpoint(server, space.photo),
                plan.one_client,
                plan.several_clients,
                case=case,
                engine=stack.enter_context(ModelProcess(space.unpacked_archive(case))),
            )
            for case, server in zip(cases, servers, strict=True)
        ]
        yield _Side(Endpoint(baseline, space.photo), plan.baseline_one_client, plan.baseline_several_clients), bundle


def _agreement(space: Workspace, baseline: _Side, bundle: Sequence[_BundleSide]) -> dict[Case, float]:
    """Return the share of labels equal to the baseline's, by case.

    The photograph has the size of the network's input, since TorchServe's handler answers at the network's resolution.
    """
    file = space.network_sized_photo(space.plan.compared[0])

    def answer(side: _Side, **headers: str) -> bytes:
        return replace(side.endpoint, file=file, content_type="image/png", headers=headers).answer()

    expected = np.asarray(json.loads(answer(baseline)))[..., 0]
    shares = {}
    for side in bundle:
        labels = np.asarray(Image.open(io.BytesIO(answer(side, Accept="image/png"))))
        if labels.shape != expected.shape:
            raise ValueError(f"{side.case.name}: the mask is {labels.shape}, that of {BASELINE} is {expected.shape}")
        shares[side.case] = float(np.mean(labels == expected))
    return shares
