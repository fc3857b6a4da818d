"""A request's options, each declared once: name, type, bounds, default, description. The server's settings reuse them."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from handler.option_types import WORD, BandNumbers, Flag, ImageName, Number, NumberList, ValueRange, WholeNumber
from model.strict import StrictModel

Refinement = Literal["none", "crf"]
Masks = Literal["rle", "png", "polygons", "none"]
YAxis = Literal["down", "up"]
Uncertainty = Literal["margin", "entropy"]

MIN_SCALE, MAX_SCALE = 0.25, 2
MAX_TILES = 100
REFINEMENTS: tuple[str, ...] = get_args(Refinement)
MASKS: tuple[str, ...] = get_args(Masks)
Y_AXES: tuple[str, ...] = get_args(YAxis)
UNCERTAINTIES: tuple[str, ...] = get_args(Uncertainty)

SCALE = Number(MIN_SCALE, MAX_SCALE)

#: The name of the output that holds the answer in the requested format.
ANSWER: Final = "answer"

#: The first three bands, or the first if there are fewer.
FIRST_BANDS: Final = "first"
#: The full range of the sample type, or the image's 2nd to 98th percentile.
TYPE_RANGE: Final = "type"
AUTO_RANGE: Final = "auto"
Bands = tuple[int, ...] | Literal["first"]
Range = tuple[float, float] | Literal["type", "auto"]


class ReadingOptions(StrictModel):
    """How the samples of an image become colours."""

    #: One band number for grey, or three for red, green and blue; 1 is the first band, as in GDAL and rasterio.
    bands: Annotated[Bands, BandNumbers(FIRST_BANDS)] = Field(
        default=FIRST_BANDS,
        description="the bands shown as red, green and blue, or one as grey; 1 is the file's first, as in GDAL",
    )
    #: The values shown as black and as white.
    range: Annotated[Range, ValueRange((TYPE_RANGE, AUTO_RANGE))] = Field(
        default=TYPE_RANGE,
        description="the values shown as black and white; `type`: all of 8 or 16 bits, of floats 0 to 1; "
        "`auto`: by the image's 2nd and 98th percentiles",
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        check_range(self.range)
        return self


def check_range(values: Range) -> None:
    """Raise ValueError unless black is below white, the one rule that a JSON Schema cannot express."""
    if not isinstance(values, str) and not values[0] < values[1]:
        raise ValueError(f"{values[0]:g},{values[1]:g}: black must be below white")


class InferenceOptions(ReadingOptions):
    """How the network sees an image, and how its probabilities are refined."""

    #: Multiples of the size given by the checkpoint's resize policy, ascending.
    scales: Annotated[tuple[Annotated[float, SCALE], ...], NumberList(SCALE)] = Field(
        default=(1.0,), description="the network sees the picture at each; probabilities are averaged"
    )
    flip: Flag = Field(default=False, description="it sees the mirror image too")
    #: The network sees each tile as it would see the whole image: at the checkpoint's size, at each scale, and mirrored.
    tiles: Annotated[int, WholeNumber(1, MAX_TILES)] = Field(
        default=1, description="it sees overlapping tiles, this many along each side; 1: the whole picture"
    )
    #: `crf` is `masks.refinement`, at the size at which the network would see the whole image, regardless of `tiles`.
    refine: Annotated[Refinement, WORD] = Field(
        default="none", description="`crf`: a dense CRF moves edges to those of the picture"
    )


class AnswerDefaults(StrictModel):
    """What an answer contains: the options whose defaults do not depend on the model's classes."""

    masks: Annotated[Masks, WORD] = Field(default="rle", description="`json`: how each segment's mask is given")
    min_score: Annotated[float, Number(0, 1)] = Field(
        default=0.0, description="segments under it are left out where segments are listed"
    )
    components: Flag = Field(
        default=False, description="each connected part of a class, other than background, is a segment of its own"
    )
    alpha: Annotated[float, Number(0, 1)] = Field(default=0.5, description="`overlay` and explanations: opacity of the tint")
    tolerance: Annotated[float, Number(0, 10)] = Field(
        default=0.0,
        description="polygons drop corners that cut off less than its square, in pixels; neighbours stay without gaps",
    )
    y_axis: Annotated[YAxis, WORD] = Field(
        default="down", description="`geojson`: `up` turns y to -height … 0, where QGIS draws a picture without georeference"
    )
    uncertainty: Annotated[Uncertainty, WORD] = Field(
        default="margin",
        description="`uncertainty`: 1 minus the lead of the most probable class over the second, or the entropy over ln C",
    )


class AnswerOptions(AnswerDefaults):
    """What an answer contains, and its format."""

    #: One of `handler.answers.FORMATS`.
    format: str = Field(default="json", description="what is answered")
    #: Indices, ascending; None for all.
    classes: tuple[int, ...] | None = Field(default=None, description="classes to report; the rest becomes background")
    image_name: Annotated[str, ImageName()] = Field(
        default="image", description="`coco`, `coco_panoptic`, `labelme`: the image file's name in the annotations"
    )


_DEFAULT_INFERENCE = InferenceOptions()
_DEFAULT_ANSWER = AnswerOptions()


@dataclass(frozen=True)
class PixelData:
    """An image that a client sends as raw pixels instead of a file."""

    #: Height, width.
    size: tuple[int, int]
    #: uint8 RGB H×W×3, H·W·3 bytes, row by row from the top.
    samples: bytes | memoryview


@dataclass(frozen=True)
class SegmentationRequest:
    """An image and how to answer it. The server's defaults are already filled in."""

    #: A file's bytes, or raw pixels.
    image: bytes | PixelData
    inference: InferenceOptions = _DEFAULT_INFERENCE
    answer: AnswerOptions = _DEFAULT_ANSWER
    #: Whether to answer with an explanation of one class instead of the segmentation.
    explain: bool = False
    #: Index of the class to explain; None for the class with the most pixels.
    explain_class: int | None = None
    #: Images in the same call, which share its limits.
    images_per_call: int = 1
    #: Requested outputs: `ANSWER` (the answer in its format) and arrays by their names in `handler.answers.arrays`.
    outputs: tuple[str, ...] = (ANSWER,)
    #: Whether its observation includes the classes at sample points.
    sampled: bool = False


@dataclass(frozen=True)
class ModelIdentity:
    """The name and version under which the model is served."""

    name: str
    version: str
