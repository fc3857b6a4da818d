"""The plan of a benchmark: networks, engines, precisions, photographs and repetitions."""

from dataclasses import dataclass, replace

from benchmarks.serving.timing import Pace
from handler.geometry import Size
from scripts.package import MODELS
from scripts.samples import ALL

#: The network of the default checkpoint; other names are models of this repository, or torchvision's with random weights.
DEFAULT_NETWORK = "default"
RESNET50, RESNET101, MOBILENET = "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"


@dataclass(frozen=True)
class Case:
    """A network, and its engine and precision as spelled in model-config.yaml."""

    network: str
    engine: str = "torch"
    precision: str = "float32"

    @property
    def runtime(self) -> str:
        return f"{self.engine} {self.precision}"

    @property
    def name(self) -> str:
        return f"{self.network}, {self.runtime}"

    def on(self, native: str) -> "Case":
        """Return the case for a processor whose fastest floating-point precision is `native`."""
        return replace(self, precision=native) if self.precision == "bfloat16" else self


#: Engines and precisions measured for every network; labels are compared with those of the first.
RUNTIMES: tuple[tuple[str, str], ...] = (
    ("torch", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)


def cases(network: str) -> tuple[Case, ...]:
    """Return the network with every engine and precision."""
    return tuple(Case(network, engine, precision) for engine, precision in RUNTIMES)


def default_case(network: str) -> Case:
    """Return the network with the default engine and precision of a worker."""
    return Case(network, "openvino", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """What one run of the benchmark measures, and how often."""

    #: Compared with TorchServe's own handler; all have the same network.
    compared: tuple[Case, ...]
    #: Served too, and like those above compared with their bare engines.
    served: tuple[Case, ...]
    #: Measured stage by stage.
    staged: tuple[Case, ...]
    #: Compared by engine and precision.
    engines: tuple[Case, ...]
    #: Started, to measure time to READY and memory.
    started: tuple[Case, ...]
    #: Served by each of `servers`, named as in `sections.server_comparison`.
    compared_server: Case
    servers: tuple[str, ...]
    #: Served by the server without Java: this repository's models, and larger networks.
    models: tuple[Case, ...]
    #: Height and width of the photographs.
    photo: Size
    large: Size
    #: Names of the samples on which labels are compared.
    samples: tuple[str, ...]
    #: Short side in pixels of the input of networks with random weights.
    side: int
    #: Each round measures every side of a comparison once, one after the other.
    rounds: int
    #: The pace of a round with one client, for this bundle and its bare engine and for TorchServe's handler; then with several.
    one_client: Pace
    baseline_one_client: Pace
    several_clients: Pace
    baseline_several_clients: Pace
    clients: int
    #: Answers per format, for the small photograph and for the large one.
    photo_runs: int
    large_runs: int
    label_runs: int
    starts: int
    #: Executors of `scripts.bulk`, all on `compared_server`'s archive.
    bulk_engines: tuple[str, ...]
    bulk_images: int
    #: Processes of a bulk run, or None for one per core.
    bulk_jobs: int | None
    #: The pace of the bare engine for comparison, in one round.
    bulk_engine: Pace
    #: Whether to compare the figures with the targets.
    checks_targets: bool

    def on(self, native: str) -> "Plan":
        """Apply `Case.on` to every case, and drop duplicates."""

        def on_native(cases: tuple[Case, ...]) -> tuple[Case, ...]:
            return tuple(dict.fromkeys(case.on(native) for case in cases))

        return replace(
            self,
            compared=on_native(self.compared),
            served=on_native(self.served),
            staged=on_native(self.staged),
            engines=on_native(self.engines),
            started=on_native(self.started),
            models=on_native(self.models),
            compared_server=self.compared_server.on(native),
        )


FULL = Plan(
    compared=cases(RESNET50),
    served=(default_case(DEFAULT_NETWORK),),
    staged=(default_case(DEFAULT_NETWORK),),
    engines=(*cases(DEFAULT_NETWORK), *cases(RESNET50), *cases(RESNET101)),
    started=(default_case(DEFAULT_NETWORK), default_case(RESNET101)),
    compared_server=default_case(DEFAULT_NETWORK),
    servers=("TorchServe", "this server", "FastAPI and torchvision", "LitServe", "Hugging Face's pipeline"),
    models=(*map(default_case, [*MODELS, RESNET50]), Case(RESNET50, "openvino", "int8")),
    photo=(491, 640),
    large=(3000, 4000),
    samples=ALL,
    side=520,
    rounds=4,
    one_client=Pace(3, 2.0),
    baseline_one_client=Pace(3),
    several_clients=Pace(8, 4.0),
    baseline_several_clients=Pace(8),
    clients=8,
    photo_runs=30,
    large_runs=7,
    label_runs=3,
    starts=3,
    bulk_engines=("local", "ray"),
    bulk_images=400,
    bulk_jobs=None,
    bulk_engine=Pace(20, 10.0),
    checks_targets=True,
)
#: Checks that the benchmark runs; its figures are meaningless.
SMALL = Plan(
    compared=(default_case(MOBILENET),),
    served=(),
    staged=(default_case(DEFAULT_NETWORK),),
    engines=(Case(DEFAULT_NETWORK), default_case(DEFAULT_NETWORK)),
    started=(default_case(DEFAULT_NETWORK),),
    compared_server=default_case(DEFAULT_NETWORK),
    servers=("this server",),
    models=(default_case(DEFAULT_NETWORK),),
    photo=(72, 96),
    large=(300, 400),
    samples=("chelsea",),
    side=96,
    rounds=1,
    one_client=Pace(2),
    baseline_one_client=Pace(2),
    several_clients=Pace(4),
    baseline_several_clients=Pace(4),
    clients=2,
    photo_runs=1,
    large_runs=1,
    label_runs=1,
    starts=1,
    bulk_engines=("local",),
    bulk_images=10,
    bulk_jobs=1,
    bulk_engine=Pace(2),
    checks_targets=False,
)
