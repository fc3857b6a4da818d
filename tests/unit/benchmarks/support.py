"""Results that were never measured."""

from benchmarks.process_memory import Memory
from benchmarks.serving.benchmark_plan import DEFAULT_NETWORK, RESNET50, Case
from benchmarks.serving.results import EngineRun, Gain, LabelMaps, Ours, Requests, Results, Served, Stages, Start
from benchmarks.serving.timing import Spread

BF16 = Case(RESNET50, "openvino", "bfloat16")
DEFAULT = Case(DEFAULT_NETWORK)


def always(value: float) -> Spread:
    return Spread(3, value, value, value, value)


def served(seconds: float, per_second: float, answer_bytes: int) -> Served:
    return Served(always(seconds), always(per_second), answer_bytes, Memory(500_000_000, 600_000_000))


def ours(case: Case, seconds: float, network: float, per_second: float) -> Ours:
    """Against a handler that needs 3 s and answers 17 MB."""
    own = served(seconds, per_second, 17_000)
    return Ours(case, own, always(network), Gain.of(own, served(3.0, 0.3, 17_000_000), 0.999))


def requests(*found: Ours) -> Requests:
    return Requests(8, served(3.0, 0.3, 17_000_000), found)


def stages(size: tuple[int, int], answer_format: str = "png") -> Stages:
    """Of 10 ms for each stage, 20 for the network."""
    seconds = {"decode": 0.01, "prepare": 0.01, "network": 0.02, "label": 0.01, "encode": 0.01}
    spreads = {name: always(value) for name, value in seconds.items()}
    return Stages(DEFAULT, size, 300_000, answer_format, spreads, always(0.06), always(0.04))


FULL_RESULTS = Results(
    requests=requests(ours(BF16, 0.3, 0.28, 3.5)),
    stages=(stages((640, 491)), stages((4000, 3000))),
    labels=(LabelMaps(DEFAULT, (4000, 3000), always(0.05), always(3.0), 1.0),),
    engines=(EngineRun(DEFAULT, always(0.09), 1.0, Memory(500_000_000, 600_000_000)),),
    starts=(Start(DEFAULT, always(4.0), always(3.0), 500_000_000),),
)
