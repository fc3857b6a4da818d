"""What was measured. Times are seconds, memory and answers bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from benchmarks.process_memory import Memory
from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.timing import Spread


@dataclass(frozen=True)
class Served:
    """A live server, asked for the photograph."""

    #: With one client.
    latency: Spread
    #: Answers to several clients in a second; of the rounds.
    per_second: Spread
    answer_bytes: int
    #: Of its worker, after all requests.
    memory: Memory


@dataclass(frozen=True)
class Gain:
    """What is won against TorchServe's own handler."""

    #: How many times faster a request is, and how many times smaller its answer.
    faster: float
    smaller: float
    #: Share of labels that are the same: that both sides have the same weights, and mean the same by them.
    agreement: float

    @classmethod
    def of(cls, ours: Served, theirs: Served, agreement: float) -> "Gain":
        faster, smaller = theirs.latency.median / ours.latency.median, theirs.answer_bytes / ours.answer_bytes
        return cls(faster, smaller, agreement)


@dataclass(frozen=True)
class Ours:
    """This bundle live, and the same engine called bare in a loop."""

    case: Case
    served: Served
    network: Spread
    #: Where TorchServe's own handler has the same network.
    gain: Gain | None

    @property
    def around(self) -> float:
        """Seconds of a request that are not the network's."""
        return self.served.latency.median - self.network.median

    @property
    def around_share(self) -> float:
        return self.around / self.served.latency.median

    @property
    def throughput_share(self) -> float:
        """Of the bare engine's."""
        return self.served.per_second.median * self.network.median


@dataclass(frozen=True)
class Requests:
    """Parts 1 and 2: TorchServe's own handler and this bundle, live, and what everything around the network costs."""

    clients: int
    baseline: Served
    ours: tuple[Ours, ...]


@dataclass(frozen=True)
class Stages:
    """A photograph's way through the pipeline."""

    case: Case
    #: Width and height.
    size: tuple[int, int]
    file_bytes: int
    answer_format: str
    #: By stage, in order.
    stages: dict[str, Spread]
    total: Spread
    #: Of the total, what is not the network's.
    beyond: Spread


@dataclass(frozen=True)
class LabelMaps:
    """From logits to the labels of the large photograph, beside torch's `interpolate(...).argmax(1)`."""

    case: Case
    #: Width and height.
    size: tuple[int, int]
    ours: Spread
    reference: Spread
    agreement: float

    @property
    def speedup(self) -> float:
        return self.reference.median / self.ours.median


@dataclass(frozen=True)
class EngineRun:
    """An engine and a precision, in a process without a server."""

    case: Case
    network: Spread
    #: Share of labels, at the photographs' own size, that are those of the first engine and precision of the network.
    agreement: float
    #: At rest, and after the large photograph.
    memory: Memory


@dataclass(frozen=True)
class Start:
    """How soon a server is ready, and what its worker takes then."""

    case: Case
    #: From the command on, Java's start and the unpacking of the archive included.
    server: Spread
    #: From the start of the worker's process on.
    worker: Spread
    resident: int


@dataclass(frozen=True)
class Results:
    """Of the sections that were run."""

    requests: Requests | None = None
    stages: tuple[Stages, ...] = ()
    labels: tuple[LabelMaps, ...] = ()
    engines: tuple[EngineRun, ...] = ()
    starts: tuple[Start, ...] = ()


class OfCase(Protocol):
    @property
    def case(self) -> Case: ...


Found = TypeVar("Found", bound=OfCase)


def of(results: Iterable[Found], network: str, precision: str | None = None) -> Found | None:
    """The last of a network, in the precision if one is given."""
    fitting = [each for each in results if each.case.network == network and precision in (None, each.case.precision)]
    return fitting[-1] if fitting else None
