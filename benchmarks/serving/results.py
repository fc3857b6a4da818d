"""Measured values: times in seconds, memory and answers in bytes, sizes as (width, height)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from benchmarks.process_memory import ProcessMemory
from benchmarks.serving.benchmark_plan import Case
from benchmarks.serving.timing import Spread


@dataclass(frozen=True)
class LiveServer:
    """A live server that is repeatedly sent the photograph."""

    #: With one client.
    latency: Spread
    #: Answers per second to several clients, one value per round.
    per_second: Spread
    answer_bytes: int
    #: The worker's memory after all requests.
    memory: ProcessMemory


@dataclass(frozen=True)
class Gain:
    """This bundle compared with TorchServe's own handler."""

    #: How many times faster a request is, and how many times smaller its answer.
    faster: float
    smaller: float
    #: Share of equal labels, which shows that both sides run the same weights.
    agreement: float

    @classmethod
    def compare(cls, bundle: LiveServer, baseline: LiveServer, agreement: float) -> "Gain":
        faster = baseline.latency.median / bundle.latency.median
        return cls(faster, baseline.answer_bytes / bundle.answer_bytes, agreement)


@dataclass(frozen=True)
class BundleRequests:
    """This bundle live, and its engine called directly in a loop."""

    case: Case
    live: LiveServer
    network: Spread
    #: None if TorchServe's own handler was not measured with the same network.
    gain: Gain | None

    @property
    def overhead(self) -> float:
        """Seconds of a request outside the network."""
        return self.live.latency.median - self.network.median

    @property
    def overhead_share(self) -> float:
        return self.overhead / self.live.latency.median

    @property
    def throughput_share(self) -> float:
        """Throughput with several clients, as a share of the bare engine's."""
        return self.live.per_second.median * self.network.median


@dataclass(frozen=True)
class Requests:
    """TorchServe's own handler and this bundle, live."""

    clients: int
    baseline: LiveServer
    bundle: tuple[BundleRequests, ...]


@dataclass(frozen=True)
class ComparedServer:
    """One of the compared servers."""

    name: str
    #: With one client.
    latency: Spread
    #: Answers per second to several clients, one value per round.
    per_second: Spread
    answer_bytes: int
    #: From the command to the first answer, and the resident bytes of all its processes then.
    first_answer_s: float
    first_resident: int
    #: The same after all requests.
    resident: int


@dataclass(frozen=True)
class ServerComparison:
    """Servers around the same network."""

    case: Case
    clients: int
    #: The network in the archive's engine, and the whole answer from `Pipeline`, both without a server.
    network: Spread
    in_process: Spread
    servers: tuple[ComparedServer, ...]
    #: Names of servers that are not installed.
    left_out: tuple[str, ...]

    def around_network(self, server: ComparedServer) -> float:
        """Return the seconds of a request outside the network, including decoding, labels and encoding."""
        return server.latency.median - self.network.median

    def around_pipeline(self, server: ComparedServer) -> float:
        """Return the seconds that a request takes beyond the same answer without a server."""
        return server.latency.median - self.in_process.median

    def engine_share(self, server: ComparedServer) -> float:
        """Return the answers per second to several clients, as a share of the bare engine's."""
        return server.per_second.median * self.network.median


@dataclass(frozen=True)
class AnswerStages:
    """The stages of one answer, from file to answer."""

    case: Case
    size: tuple[int, int]
    file_bytes: int
    answer_format: str
    #: By stage, in order.
    stages: dict[str, Spread]
    total: Spread
    #: The total less the network's time.
    overhead: Spread


@dataclass(frozen=True)
class LabelMaps:
    """Times from logits to labels of the large photograph, compared with torch's `interpolate(...).argmax(1)`."""

    case: Case
    size: tuple[int, int]
    bundle: Spread
    reference: Spread
    #: Share of equal labels.
    agreement: float

    @property
    def speedup(self) -> float:
        return self.reference.median / self.bundle.median


@dataclass(frozen=True)
class EngineRun:
    """An engine and a precision, in a process without a server."""

    case: Case
    network: Spread
    #: Share of labels, at the photographs' sizes, equal to those of the network's first engine and precision.
    agreement: float
    #: Resident memory when idle, and the peak after the large photograph.
    memory: ProcessMemory


@dataclass(frozen=True)
class WorkerStart:
    """How soon a server is READY, and the memory of its worker at that moment."""

    case: Case
    #: From the command, including Java's start and unpacking the archive.
    server: Spread
    #: From the start of the worker process.
    worker: Spread
    #: The worker's memory in the start with the largest peak.
    memory: ProcessMemory
    #: The peak of a process that loads and warms up the same model without a server.
    without_server: ProcessMemory


@dataclass(frozen=True)
class Quality:
    """A model's quality as recorded in its checkpoint."""

    #: The evaluation data.
    data: str
    #: In 0..1; None if not measured.
    miou: float
    pixel_accuracy: float | None


@dataclass(frozen=True)
class ModelRun:
    """A model on the server without Java, live with one client, and its engine called directly in a loop."""

    case: Case
    request: Spread
    network: Spread
    #: Width and height of the network's input for the photograph.
    input_size: tuple[int, int]
    checkpoint_bytes: int
    #: None if the checkpoint has no evaluation.
    quality: Quality | None

    @property
    def around_network(self) -> float:
        """The seconds of a request outside the network, including decoding, labels and encoding."""
        return self.request.median - self.network.median


@dataclass(frozen=True)
class BulkRun:
    """`scripts.bulk` with one of its executors."""

    engine: str
    #: Images per second while all processes work, one value per round.
    per_second: Spread
    #: Duration of the whole program, including its start.
    seconds: Spread


@dataclass(frozen=True)
class BulkComparison:
    """`scripts.bulk`, and its engine called directly in a loop."""

    case: Case
    images: int
    #: Processes of a run.
    jobs: int
    #: Images per second of the engine alone, in one process on all cores, and in `jobs` processes.
    bare_engine: Spread
    bare_engines: Spread
    runs: tuple[BulkRun, ...]
    #: Executors whose package is not installed.
    left_out: tuple[str, ...]

    def share(self, run: BulkRun) -> float:
        """Return the images per second as a share of the bare engine's rate in one process."""
        return run.per_second.median / self.bare_engine.median

    def share_of_processes(self, run: BulkRun) -> float:
        """Return the images per second as a share of the bare engine's rate in as many processes."""
        return run.per_second.median / self.bare_engines.median


@dataclass(frozen=True)
class Results:
    """Results of the sections that ran; empty for the others."""

    servers: ServerComparison | None = None
    models: tuple[ModelRun, ...] = ()
    requests: Requests | None = None
    stages: tuple[AnswerStages, ...] = ()
    labels: tuple[LabelMaps, ...] = ()
    engines: tuple[EngineRun, ...] = ()
    starts: tuple[WorkerStart, ...] = ()
    bulk: BulkComparison | None = None


class HasCase(Protocol):
    @property
    def case(self) -> Case: ...


ResultT = TypeVar("ResultT", bound=HasCase)


def latest(results: Iterable[ResultT], network: str, precision: str | None = None) -> ResultT | None:
    """Return the last result for a network, and for `precision` if given."""
    matching = [result for result in results if result.case.network == network and precision in (None, result.case.precision)]
    return matching[-1] if matching else None
