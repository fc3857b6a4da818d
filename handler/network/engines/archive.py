"""Files that packaging adds to an archive for the engines: the OpenVINO graph and how well each engine agrees with torch."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from handler.network.engines.base import Precision
from model.strict import StrictModel

#: Relative to the archive's root; the graph's weights (.bin) are next to it.
GRAPH = Path("graphs", "network.xml")
AGREEMENT = Path("graphs", "agreement.json")

#: Minimum fraction of equal labels for an engine to serve, by precision. `scripts.quantize` checks int8 models by their mIoU.
MIN_EQUAL_LABELS: Mapping[str, float] = {"float32": 0.9999, "bfloat16": 0.995, "int8": 0.0}


class EngineAgreement(StrictModel):
    """How closely one engine's labels match torch's in float32, at the photographs' full size."""

    engine: str
    precision: str
    #: Fraction of all pixels with equal labels.
    equal_labels: float = Field(ge=0, le=1)
    #: The lowest fraction for a single photograph.
    least_of_one_image: float = Field(ge=0, le=1)
    images: int = Field(ge=1)
    #: Largest absolute difference between logits.
    greatest_difference: float = Field(ge=0)
    #: Minimum `equal_labels` for the engine to serve.
    required: float = Field(ge=0, le=1)

    @property
    def is_sufficient(self) -> bool:
        """Whether the engine may serve."""
        return self.equal_labels >= self.required


class Agreement(StrictModel):
    """The agreement of every engine that was available when the model was packaged."""

    photographs: str
    engines: tuple[EngineAgreement, ...]

    def trusted_precision(self, engine: str, precision: Precision) -> Precision:
        """Return the precision to request from `engine`: `auto` becomes float32 if its bfloat16 agreed too little."""
        bfloat16_entries = [entry for entry in self.engines if (entry.engine, entry.precision) == (engine, "bfloat16")]
        if precision == "auto" and not all(entry.is_sufficient for entry in bfloat16_entries):
            return "float32"
        return precision


def archived_graph(archive: Path) -> Path | None:
    """Return the path of the graph in an extracted archive, or None if it has none."""
    path = archive / GRAPH
    return path if path.is_file() else None


def archived_agreement(archive: Path) -> Agreement | None:
    """Return the agreement recorded in an extracted archive, or None if it has none."""
    path = archive / AGREEMENT
    return Agreement.model_validate_json(path.read_bytes()) if path.is_file() else None
