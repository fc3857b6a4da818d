"""What the bundle sets out to reach, held against what was measured."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK, RESNET50, RESNET101
from benchmarks.serving.results import Results, of

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Target:
    """A figure that is to be reached."""

    what: str
    #: "≥" or "≤".
    relation: str
    bound: float
    #: With which its figures are written, the unit included.
    spelling: str
    #: None: not measured in this run.
    figure: float | None

    @property
    def reached(self) -> bool | None:
        return None if self.figure is None else _COMPARISONS[self.relation](self.figure, self.bound)

    @property
    def asked(self) -> str:
        return f"{self.relation} {self.spelling.format(self.bound)}"

    @property
    def found(self) -> str:
        return "–" if self.figure is None else self.spelling.format(self.figure)

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "missed", None: "not measured"}[self.reached]


_TIMES, _MS, _S, _PERCENT, _FINE = "{:,.1f} ×", "{:,.1f} ms", "{:.1f} s", "{:.0f} %", "{:.2f} %"
_LARGE = (4000, 3000)
Found = TypeVar("Found")


def targets(results: Results) -> tuple[Target, ...]:
    """All of them; those of which nothing was measured have no figure."""
    return (*_of_requests(results), *_of_stages(results), *_of_engines(results), *_of_starts(results))


def _figure(found: Found | None, read: Callable[[Found], float]) -> float | None:
    return None if found is None else read(found)


def _of_requests(results: Results) -> Iterator[Target]:
    ours = results.requests.ours if results.requests else ()
    bf16, int8, default = of(ours, RESNET50, "bfloat16"), of(ours, RESNET50, "int8"), of(ours, DEFAULT_NETWORK)
    for precision, run, least in (("bfloat16", bf16, 7), ("int8", int8, 12)):
        faster = _figure(run.gain if run else None, lambda gain: gain.faster)
        yield Target(f"ResNet-50 in {precision}, faster than TorchServe's handler", "≥", least, _TIMES, faster)
    smaller = _figure(bf16.gain if bf16 else None, lambda gain: gain.smaller)
    yield Target("its answers smaller, in bfloat16", "≥", 500, _TIMES, smaller)
    share = _figure(bf16, lambda each: 100 * each.around_share)
    yield Target("around the network, ResNet-50 in bfloat16", "≤", 10, _PERCENT, share)
    yield Target("around the network, default model", "≤", 12, _MS, _figure(default, lambda each: 1000 * each.around))
    share = _figure(bf16, lambda each: 100 * each.throughput_share)
    yield Target("8 clients, of the bare engine's throughput, ResNet-50 in bfloat16", "≥", 90, _PERCENT, share)


def _of_stages(results: Results) -> Iterator[Target]:
    png = next((each for each in results.stages if (each.answer_format, each.size) == ("png", _LARGE)), None)
    labels = next((each for each in results.labels if each.size == _LARGE), None)
    beyond = _figure(png, lambda each: 1000 * each.beyond.median)
    yield Target("12 megapixels, JPEG to palette PNG, beyond the network", "≤", 150, _MS, beyond)
    yield Target("12 megapixels, label map", "≤", 40, _MS, _figure(labels, lambda each: 1000 * each.ours.median))
    speedup = _figure(labels, lambda each: each.speedup)
    yield Target("12 megapixels, label map, faster than interpolate and argmax", "≥", 50, _TIMES, speedup)


def _of_engines(results: Results) -> Iterator[Target]:
    for precision, least in (("float32", 99.99), ("bfloat16", 99.5)):
        run = of(results.engines, DEFAULT_NETWORK, precision)
        what = f"labels of the default model in {precision} equal to torch's in float32"
        yield Target(what, "≥", least, _FINE, _figure(run, lambda each: 100 * each.agreement))


def _of_starts(results: Results) -> Iterator[Target]:
    for network, name, most in ((DEFAULT_NETWORK, "default model", 5), (RESNET101, "ResNet-101", 10)):
        start = of(results.starts, network)
        yield Target(f"start of a worker to READY, {name}", "≤", most, _S, _figure(start, lambda each: each.worker.median))
