"""Compare the measurements with the bundle's targets."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK, RESNET50, RESNET101
from benchmarks.serving.results import Results, latest

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Target:
    """A bound on one figure."""

    what: str
    #: "≥" or "≤".
    relation: str
    bound: float
    #: Format string for the bound and the figure, with the unit.
    spelling: str
    #: None if not measured in this run.
    figure: float | None
    #: The figure when the target was set (docs/performance.md has the conditions), or None if it was not measured.
    before: float | None = None

    @property
    def reached(self) -> bool | None:
        return None if self.figure is None else _COMPARISONS[self.relation](self.figure, self.bound)

    @property
    def required(self) -> str:
        return f"{self.relation} {self.spelling.format(self.bound)}"

    @property
    def measured(self) -> str:
        return self._format(self.figure)

    @property
    def measured_before(self) -> str:
        return self._format(self.before)

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "missed", None: "not measured"}[self.reached]

    def _format(self, figure: float | None) -> str:
        return "–" if figure is None else self.spelling.format(figure)


_TIMES, _MS, _S, _PERCENT, _FINE_PERCENT, _MB = "{:,.1f} ×", "{:,.1f} ms", "{:.1f} s", "{:.0f} %", "{:.2f} %", "{:,.0f} MB"
_LARGE = (4000, 3000)
ResultT = TypeVar("ResultT")


def targets(results: Results) -> tuple[Target, ...]:
    """Return all targets; figures missing from `results` are None."""
    return (
        *_server_targets(results),
        *_request_targets(results),
        *_stage_targets(results),
        *_engine_targets(results),
        *_start_targets(results),
        *_bulk_targets(results),
    )


def _figure(result: ResultT | None, read: Callable[[ResultT], float]) -> float | None:
    return None if result is None else read(result)


def _server_targets(results: Results) -> Iterator[Target]:
    around = share = first_answer = resident = None
    if comparison := results.servers:
        server = next(server for server in comparison.servers if server.name == "this server")
        around, share = 1000 * comparison.around_network(server), 100 * comparison.engine_share(server)
        first_answer, resident = server.first_answer_s, server.first_resident / 1e6
    yield Target("time of a request outside the network, default model, this server", "≤", 4, _MS, around, before=11)
    yield Target("throughput of the bare engine reached with 8 clients, this server", "≥", 90, _PERCENT, share, before=69)
    yield Target("this server's start to its first answer", "≤", 2, _S, first_answer)
    yield Target("memory of all processes of this server after its first answer", "≤", 450, _MB, resident)


def _request_targets(results: Results) -> Iterator[Target]:
    runs = results.requests.bundle if results.requests else ()
    bf16, int8, default = latest(runs, RESNET50, "bfloat16"), latest(runs, RESNET50, "int8"), latest(runs, DEFAULT_NETWORK)
    for precision, run, bound in (("bfloat16", bf16, 7), ("int8", int8, 12)):
        faster = _figure(run.gain if run else None, lambda gain: gain.faster)
        yield Target(f"ResNet-50 in {precision}, faster than TorchServe's handler", "≥", bound, _TIMES, faster)
    smaller = _figure(bf16.gain if bf16 else None, lambda gain: gain.smaller)
    yield Target("ResNet-50 in bfloat16, answers smaller than TorchServe's", "≥", 500, _TIMES, smaller)
    share = _figure(bf16, lambda run: 100 * run.overhead_share)
    yield Target("share of a request outside the network, ResNet-50 in bfloat16", "≤", 10, _PERCENT, share)
    overhead = _figure(default, lambda run: 1000 * run.overhead)
    yield Target("time of a request outside the network, default model", "≤", 12, _MS, overhead)
    share = _figure(bf16, lambda run: 100 * run.throughput_share)
    yield Target("throughput of the bare engine reached with 8 clients, ResNet-50 in bfloat16", "≥", 90, _PERCENT, share)


def _stage_targets(results: Results) -> Iterator[Target]:
    png = next((stages for stages in results.stages if (stages.answer_format, stages.size) == ("png", _LARGE)), None)
    labels = next((maps for maps in results.labels if maps.size == _LARGE), None)
    overhead = _figure(png, lambda stages: 1000 * stages.overhead.median)
    yield Target("12 megapixels, JPEG to palette PNG, outside the network", "≤", 150, _MS, overhead)
    seconds = _figure(labels, lambda maps: 1000 * maps.bundle.median)
    yield Target("12 megapixels, label map", "≤", 40, _MS, seconds)
    speedup = _figure(labels, lambda maps: maps.speedup)
    yield Target("12 megapixels, label map, faster than interpolate and argmax", "≥", 50, _TIMES, speedup)


def _engine_targets(results: Results) -> Iterator[Target]:
    for precision, bound in (("float32", 99.99), ("bfloat16", 99.5)):
        run = latest(results.engines, DEFAULT_NETWORK, precision)
        description = f"labels of the default model in {precision} equal to torch's in float32"
        yield Target(description, "≥", bound, _FINE_PERCENT, _figure(run, lambda run: 100 * run.agreement))


def _start_targets(results: Results) -> Iterator[Target]:
    default, large = latest(results.starts, DEFAULT_NETWORK), latest(results.starts, RESNET101)
    seconds = _figure(default, lambda start: start.worker.median)
    yield Target("worker's start to READY, default model", "≤", 2.5, _S, seconds, before=3.4)
    peak = _figure(default, lambda start: start.memory.peak / 1e6)
    yield Target("worker's peak memory when READY, default model", "≤", 400, _MB, peak, before=703)
    peak = _figure(default, lambda start: start.without_server.peak / 1e6)
    yield Target("peak memory of the loaded default model, without a server", "≤", 400, _MB, peak, before=491)
    seconds = _figure(large, lambda start: start.worker.median)
    yield Target("worker's start to READY, ResNet-101", "≤", 10, _S, seconds)


def _bulk_targets(results: Results) -> Iterator[Target]:
    comparison = results.bulk
    runs = {run.engine: 100 * comparison.share(run) for run in comparison.runs} if comparison else {}
    for engine, bound in (("local", 95), ("ray", 85)):
        description = f"images per second of the bare engine reached by scripts.bulk --engine {engine}"
        yield Target(description, "≥", bound, _PERCENT, runs.get(engine))
