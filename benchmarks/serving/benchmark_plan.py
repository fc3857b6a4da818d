"""What is measured: networks, engines, precisions, photographs, and how often."""

from dataclasses import dataclass, replace

from benchmarks.serving.timing import Pace
from handler.geometry import Size
from scripts.samples import ALL

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
RUNTIMES: tuple[tuple[str, str], ...] = (
    ("torch", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)


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
    #: Samples on which labels are compared.
    pictures: tuple[str, ...]
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
    #: Whether figures mean enough to be held against what is to be reached.
    telling: bool

    def on(self, native: str) -> "Plan":
        """As `Case.on`; what is then the same is run once."""

        def own(cases: tuple[Case, ...]) -> tuple[Case, ...]:
            return tuple(dict.fromkeys(case.on(native) for case in cases))

        return replace(
            self,
            compared=own(self.compared),
            served=own(self.served),
            staged=own(self.staged),
            engines=own(self.engines),
            started=own(self.started),
        )


FULL = Plan(
    compared=cases(RESNET50),
    served=(as_served(DEFAULT_NETWORK),),
    staged=(as_served(DEFAULT_NETWORK),),
    engines=(*cases(DEFAULT_NETWORK), *cases(RESNET50), *cases(RESNET101)),
    started=(as_served(DEFAULT_NETWORK), as_served(RESNET101)),
    photo=(491, 640),
    large=(3000, 4000),
    pictures=ALL,
    side=520,
    rounds=4,
    alone=Pace(3, 2.0),
    baseline_alone=Pace(3),
    together=Pace(8, 4.0),
    baseline_together=Pace(8),
    clients=8,
    photo_runs=30,
    large_runs=7,
    label_runs=3,
    starts=3,
    telling=True,
)
#: For correctness alone.
SMALL = Plan(
    compared=(as_served(MOBILENET),),
    served=(),
    staged=(as_served(DEFAULT_NETWORK),),
    engines=(Case(DEFAULT_NETWORK), as_served(DEFAULT_NETWORK)),
    started=(as_served(DEFAULT_NETWORK),),
    photo=(72, 96),
    large=(300, 400),
    pictures=("chelsea",),
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
    telling=False,
)
