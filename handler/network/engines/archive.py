"""What packaging makes of a network for its engines, and where an archive keeps it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from handler.network.engines.base import Precision
from model.strict import StrictModel

#: Relative to the archive's root. OpenVINO's graph is two files, the other beside it.
GRAPH = Path("graphs", "network.xml")
AGREEMENT = Path("graphs", "agreement.json")


#: The least share of equal labels with which an engine may serve. An int8 model was held to its mIoU when it was quantized.
LEAST_EQUAL: Mapping[str, float] = {"float32": 0.9999, "bfloat16": 0.995, "int8": 0.0}


class EngineAgreement(StrictModel):
    """How one engine's labels compare with those of torch in float32, at the sizes of the photographs."""

    engine: str
    precision: str
    #: Share of all pixels with equal labels.
    equal_labels: float = Field(ge=0, le=1)
    #: Of the photograph where it is least.
    least_of_one_image: float = Field(ge=0, le=1)
    images: int = Field(ge=1)
    #: Of any logit.
    greatest_difference: float = Field(ge=0)
    #: The least `equal_labels` with which it may serve.
    required: float = Field(ge=0, le=1)

    @property
    def suffices(self) -> bool:
        """Whether it may serve."""
        return self.equal_labels >= self.required


class Agreement(StrictModel):
    """That of all engines that could be tried where the model was packaged."""

    photographs: str
    engines: tuple[EngineAgreement, ...]

    def trusted(self, engine: str, precision: Precision) -> Precision:
        """What `engine` is to compute with where `precision` is asked for: not in bfloat16, by itself, if it is in doubt."""
        doubted = any((each.engine, each.precision) == (engine, "bfloat16") and not each.suffices for each in self.engines)
        return "float32" if precision == "auto" and doubted else precision


def archived_graph(archive: Path) -> Path | None:
    """The graph in an extracted archive, if there is one."""
    path = archive / GRAPH
    return path if path.is_file() else None


def archived_agreement(archive: Path) -> Agreement | None:
    """The agreement recorded in an extracted archive, if there is one."""
    path = archive / AGREEMENT
    return Agreement.model_validate_json(path.read_bytes()) if path.is_file() else None
