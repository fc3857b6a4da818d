"""What a checkpoint says of itself: enough to run it, show its answers and judge it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model.config import ModelConfig
from model.strict import StrictModel

Channel = Annotated[int, Field(ge=0, le=255)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[Channel, Channel, Channel]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalization(StrictModel):
    """Per channel (red, green, blue), on values in 0..1: `(x - mean) / std`."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = IMAGENET_STD


class ResizePolicy(StrictModel):
    """How an image is brought to the network's resolution, keeping its aspect ratio.

    The `short` or `long` side becomes `size` pixels. Both sides are then rounded to a `multiple` (1: not at all). Images more
    elongated than `max_aspect` are scaled by their long side, to `size * max_aspect`, so that a thin strip cannot ask for a
    network input of any length.
    """

    side: Literal["short", "long"] = "short"
    size: int = Field(default=520, ge=32, le=4096)
    multiple: int = Field(default=1, ge=1, le=256)
    max_aspect: float = Field(default=4.0, ge=1)


class Evaluation(StrictModel):
    """A measured quality: on which data, under which conditions, and the figures in 0..1."""

    dataset: str
    miou: Fraction
    pixel_accuracy: Fraction | None = None
    boundary_iou: Fraction | None = None
    conditions: str = ""


class Quantization(StrictModel):
    """How a graph in 8-bit integers was made of a network, and what that cost."""

    #: With the versions of its tools.
    method: str
    #: The data that the ranges of values were measured on.
    calibration: str
    photographs: int = Field(ge=1)
    #: The data that both were compared on.
    dataset: str
    images: int = Field(ge=1)
    #: Share of all pixels that both label alike.
    equal_labels: Fraction
    #: In float32; None, as the next, if the data have no labels.
    miou_before: Fraction | None = None
    #: In 8-bit integers.
    miou_after: Fraction | None = None

    @model_validator(mode="after")
    def _before_and_after(self) -> Self:
        if (self.miou_before is None) != (self.miou_after is None):
            raise ValueError("miou_before and miou_after are given together or not at all")
        return self


class CheckpointMetadata(StrictModel):
    """The self-description stored in a checkpoint's header."""

    format_version: Literal[1] = 1
    model: ModelConfig
    classes: tuple[Annotated[str, Field(min_length=1)], ...]
    palette: tuple[Colour, ...]
    normalization: Normalization = Normalization()
    resize: ResizePolicy = ResizePolicy()
    evaluations: tuple[Evaluation, ...] = ()
    #: Of the quantized graph that the checkpoint holds beside the weights, if it does.
    quantization: Quantization | None = None
    provenance: str
    license: str

    @model_validator(mode="after")
    def _fits_the_model(self) -> Self:
        for name, values in (("classes", self.classes), ("palette", self.palette)):
            if len(values) != self.model.num_classes:
                raise ValueError(f"{name} has {len(values)} entries, the model has {self.model.num_classes} classes")
        stride = self.model.output_stride
        if self.model.is_smp and self.resize.multiple % stride:
            raise ValueError(
                f"resize.multiple {self.resize.multiple}: {self.model.architecture} takes only sides that are "
                f"multiples of its output stride, so it must be a multiple of {stride}"
            )
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(f"classes must be distinct; repeated: {', '.join(repeated)}")
        return self
