"""What is measured: networks, engines, precisions, photographs, and how often."""

from dataclasses import dataclass, replace

from handler.geometry import Size
from scripts.benchmarking.timing import Pace

#: The network of the checkpoint that comes with the bundle; every other name is one of torchvision's, with random weights.
DEFAULT_NETWORK = "default"
RESNET50, RESNET101, MOBILENET = "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"


@dataclass(frozen=True)
class Case:
    """A network, how it is run, and in which numbers; the last two as model-config.yaml spells them."""

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
        """As a processor runs it whose fastest floating-point numbers are `native`."""
        return replace(self, precision=native) if self.precision == "bfloat16" else self


#: Engines and precisions that every network is run with; the first is what the others' labels are compared with.
RUNTIMES: tuple[tuple[str, str], ...] = (("torch", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))


def cases(network: str) -> tuple[Case, ...]:
    """The network with every engine and precision."""
    return tuple(Case(network, engine, precision) for engine, precision in RUNTIMES)


def as_served(network: str) -> Case:
    """The network as a worker runs it that is configured for nothing else."""
    return Case(network, "openvino", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """All that decides a run."""

    #: Against TorchServe's own handler; all of one network.
    compared: tuple[Case, ...]
    #: Served as well, to be set against their bare engines, as those above are.
    served: tuple[Case, ...]
    #: Stage by stage.
    staged: tuple[Case, ...]
    #: By engine and precision.
    engines: tuple[Case, ...]
    #: How soon a server is ready.
    started: tuple[Case, ...]
    #: Height and width of the photographs.
    photo: Size
    large: Size
    #: Pixels of the short side at which networks with random weights see a photograph.
    side: int
    #: Every side of a comparison is measured once in each, by turns.
    rounds: int
    #: Requests and bare runs of ours in a round, and of TorchServe's handler; then with several clients.
    alone: Pace
    baseline_alone: Pace
    together: Pace
    baseline_together: Pace
    clients: int
    #: Answers in each format for the small photograph, and for the large one.
    photo_runs: int
    large_runs: int
    label_runs: int
    starts: int

    def on(self, native: str) -> "Plan":
        """As `Case.on`; what is then the same is run once."""
        fields = ("compared", "served", "staged", "engines", "started")
        return replace(self, **{name: tuple(dict.fromkeys(case.on(native) for case in getattr(self, name))) for name in fields})


FULL = Plan(
    compared=cases(RESNET50),
    served=(as_served(DEFAULT_NETWORK),),
    staged=(as_served(DEFAULT_NETWORK),),
    engines=(*cases(DEFAULT_NETWORK), *cases(RESNET50), *cases(RESNET101)),
    started=(as_served(DEFAULT_NETWORK), as_served(RESNET101)),
    photo=(491, 640),
    large=(3000, 4000),
    side=520,
    rounds=5,
    alone=Pace(3, 2.0),
    baseline_alone=Pace(3),
    together=Pace(16, 4.0),
    baseline_together=Pace(8),
    clients=8,
    photo_runs=30,
    large_runs=7,
    label_runs=3,
    starts=3,
)
#: For correctness alone.
SMALL = Plan(
    compared=(as_served(MOBILENET),),
    served=(),
    staged=(as_served(DEFAULT_NETWORK),),
    engines=cases(DEFAULT_NETWORK),
    started=(as_served(DEFAULT_NETWORK),),
    photo=(72, 96),
    large=(300, 400),
    side=96,
    rounds=1,
    alone=Pace(2),
    baseline_alone=Pace(2),
    together=Pace(4),
    baseline_together=Pace(4),
    clients=2,
    photo_runs=1,
    large_runs=1,
    label_runs=1,
    starts=1,
)
