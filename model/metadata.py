"""A checkpoint's metadata, which is needed to run it, display its results and judge its quality."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model.config import ModelConfig
from model.strict import StrictModel

Channel = Annotated[int, Field(ge=0, le=255)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[Channel, Channel, Channel]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Beyond these, probabilities are practically all equal, or one of them is practically 1.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


class Normalization(StrictModel):
    """Per-channel normalization (red, green, blue) of values in 0..1: `(x - mean) / std`."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = IMAGENET_STD


class ResizePolicy(StrictModel):
    """How an image is resized for the network, preserving its aspect ratio.

    The `short` or `long` side becomes `size` pixels; then both sides are rounded to a multiple of `multiple`. Images more
    elongated than `max_aspect` are scaled by their long side, to `size * max_aspect`, so that a thin strip cannot cause a huge
    input.
    """

    side: Literal["short", "long"] = "short"
    size: int = Field(default=520, ge=32, le=4096)
    multiple: int = Field(default=1, ge=1, le=256)
    max_aspect: float = Field(default=4.0, ge=1)


class Evaluation(StrictModel):
    """Measured quality on a dataset; figures in 0..1."""

    dataset: str
    miou: Fraction
    pixel_accuracy: Fraction | None = None
    boundary_iou: Fraction | None = None
    conditions: str = ""

    def with_condition(self, condition: str) -> "Evaluation":
        """Return the same figures with one more condition under which they were measured."""
        return self.model_copy(update={"conditions": ", ".join(filter(None, [self.conditions, condition]))})


class Quantization(StrictModel):
    """How a network was quantized to 8-bit integers, and how much accuracy it lost."""

    #: Including the versions of the tools.
    method: str
    #: The data used to measure value ranges.
    calibration: str
    #: Number of images in the calibration data.
    photographs: int = Field(ge=1)
    #: The data used for the comparison below, and its number of images.
    dataset: str
    images: int = Field(ge=1)
    #: Fraction of pixels whose labels are the same before and after.
    equal_labels: Fraction
    #: mIoU in float32; both are None if the data has no ground truth.
    miou_before: Fraction | None = None
    #: mIoU in 8-bit integers.
    miou_after: Fraction | None = None

    @model_validator(mode="after")
    def _require_both_mious(self) -> Self:
        if (self.miou_before is None) != (self.miou_after is None):
            raise ValueError("set both miou_before and miou_after, or neither")
        return self


class Calibration(StrictModel):
    """Temperature scaling (Guo et al. 2017): the divisor of the logits, and its effect on held-out images."""

    #: Values above 1 make probabilities less extreme, values below 1 more extreme; labels stay the same.
    temperature: float = Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    #: The held-out images, and how many of their labelled pixels were sampled.
    dataset: str
    images: int = Field(ge=1)
    pixels: int = Field(ge=1)
    #: Expected calibration error: mean distance between confidence and accuracy over the sampled pixels.
    ece_before: Fraction
    ece_after: Fraction
    #: Negative log-likelihood of a pixel's true class, in nats.
    nll_before: float = Field(ge=0)
    nll_after: float = Field(ge=0)


class CheckpointMetadata(StrictModel):
    """The metadata stored in a checkpoint's header."""

    format_version: Literal[1] = 1
    model: ModelConfig
    classes: tuple[Annotated[str, Field(min_length=1)], ...]
    palette: tuple[Colour, ...]
    normalization: Normalization = Normalization()
    resize: ResizePolicy = ResizePolicy()
    evaluations: tuple[Evaluation, ...] = ()
    #: Set if the checkpoint contains a quantized graph in addition to the weights.
    quantization: Quantization | None = None
    #: Set if the probabilities were calibrated.
    calibration: Calibration | None = None
    provenance: str
    license: str

    @property
    def temperature(self) -> float:
        """The divisor of logits before the softmax; 1 if the probabilities were not calibrated."""
        return self.calibration.temperature if self.calibration else 1.0

    @model_validator(mode="after")
    def _require_consistency(self) -> Self:
        for name, values in (("classes", self.classes), ("palette", self.palette)):
            if len(values) != self.model.num_classes:
                raise ValueError(f"{name} has {len(values)} entries, the model has {self.model.num_classes} classes")
        stride = self.model.output_stride
        if self.model.is_smp and self.resize.multiple % stride:
            raise ValueError(
                f"resize.multiple {self.resize.multiple}: {self.model.architecture} needs sides that are "
                f"multiples of its output stride: use a multiple of {stride}"
            )
        duplicates = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if duplicates:
            raise ValueError(f"classes must be distinct; repeated: {', '.join(duplicates)}")
        return self
