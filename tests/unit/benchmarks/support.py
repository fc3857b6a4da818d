"""Synthetic benchmark results."""

from benchmarks.process_memory import ProcessMemory
from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK, RESNET50, Case
from benchmarks.serving.results import (
    AnswerStages,
    BulkComparison,
    BulkRun,
    BundleRequests,
    ComparedServer,
    EngineRun,
    Gain,
    LabelMaps,
    LiveServer,
    ModelRun,
    Quality,
    Requests,
    Results,
    ServerComparison,
    WorkerStart,
)
from benchmarks.serving.timing import Spread

BF16 = Case(RESNET50, "openvino", "bfloat16")
DEFAULT = Case(DEFAULT_NETWORK)


MEMORY = ProcessMemory(350_000_000, 390_000_000)


def constant(value: float) -> Spread:
    return Spread(3, value, value, value, value)


def live_server(seconds: float, per_second: float, answer_bytes: int) -> LiveServer:
    return LiveServer(constant(seconds), constant(per_second), answer_bytes, MEMORY)


def bundle_requests(case: Case, seconds: float, network: float, per_second: float) -> BundleRequests:
    """Compare with a handler that takes 3 s and answers 17 MB."""
    live = live_server(seconds, per_second, 17_000)
    return BundleRequests(case, live, constant(network), Gain.compare(live, live_server(3.0, 0.3, 17_000_000), 0.999))


def requests(*bundle: BundleRequests) -> Requests:
    return Requests(8, live_server(3.0, 0.3, 17_000_000), bundle)


def answer_stages(size: tuple[int, int], answer_format: str = "png") -> AnswerStages:
    """Return stages of 20 ms for the network and 10 ms for every other stage."""
    seconds = {"decode": 0.01, "prepare": 0.01, "network": 0.02, "label": 0.01, "encode": 0.01}
    spreads = {name: constant(value) for name, value in seconds.items()}
    return AnswerStages(DEFAULT, size, 300_000, answer_format, spreads, constant(0.06), constant(0.04))


def worker_start(seconds: float, peak: int) -> WorkerStart:
    memory = ProcessMemory(peak - 10_000_000, peak)
    return WorkerStart(DEFAULT, constant(seconds + 1), constant(seconds), memory, memory)


def server_comparison(seconds: float, per_second: float, left_out: tuple[str, ...] = ()) -> ServerComparison:
    """Compare with an engine of 10 ms and an answer of 12 ms."""
    server = ComparedServer("this server", constant(seconds), constant(per_second), 4_600, 1.9, MEMORY.resident, MEMORY.peak)
    return ServerComparison(DEFAULT, 8, constant(0.010), constant(0.012), (server,), left_out)


def model_run(name: str, quality: Quality | None) -> ModelRun:
    """Return a request of 30 ms, 20 of them in the network."""
    return ModelRun(Case(name), constant(0.03), constant(0.02), (640, 496), 4_800_000, quality)


def bulk_comparison(per_second: float, left_out: tuple[str, ...] = ()) -> BulkComparison:
    """Compare with an engine of 10 images per second, and two of 12."""
    run = BulkRun("local", constant(per_second), constant(40.0))
    return BulkComparison(DEFAULT, 400, 2, constant(10.0), constant(12.0), (run,), left_out)


FULL_RESULTS = Results(
    servers=server_comparison(0.0135, 91.0),
    models=(model_run("scenes", Quality("64 photographs", 0.696, 0.8925)), model_run("mine", None)),
    requests=requests(bundle_requests(BF16, 0.3, 0.28, 3.5)),
    stages=(answer_stages((640, 491)), answer_stages((4000, 3000))),
    labels=(LabelMaps(DEFAULT, (4000, 3000), constant(0.05), constant(3.0), 1.0),),
    engines=(EngineRun(DEFAULT, constant(0.09), 1.0, MEMORY),),
    starts=(worker_start(2.0, 390_000_000),),
    bulk=bulk_comparison(9.6),
)
