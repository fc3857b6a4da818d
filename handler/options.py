"""Options of a request, each declared once: name, type, bounds, default, description. The server's settings reuse them."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from handler.option_types import WORD, Flag, ImageName, Number, Several, WholeNumber
from model.strict import StrictModel

Refinement = Literal["none", "crf"]
Masks = Literal["rle", "png", "polygons", "none"]
YAxis = Literal["down", "up"]

LEAST_SCALE, GREATEST_SCALE = 0.25, 2
MOST_TILES = 100
REFINEMENTS: tuple[str, ...] = get_args(Refinement)
MASKS: tuple[str, ...] = get_args(Masks)
Y_AXES: tuple[str, ...] = get_args(YAxis)

SCALE = Number(LEAST_SCALE, GREATEST_SCALE)


class InferenceOptions(StrictModel):
    """How the network sees an image, and what refines its probabilities."""

    #: Factors of the size that the checkpoint's resize policy gives; ascending.
    scales: Annotated[tuple[Annotated[float, SCALE], ...], Several(SCALE)] = Field(
        default=(1.0,), description="the network sees the picture at each; probabilities are averaged"
    )
    flip: Flag = Field(default=False, description="it sees the mirror image too")
    #: The network sees a tile as it would see the whole image: at the checkpoint's size, at each scale, mirrored too.
    tiles: Annotated[int, WholeNumber(1, MOST_TILES)] = Field(
        default=1, description="it sees overlapping tiles, this many along each side; 1: the whole picture"
    )
    #: `crf` is `masks.refinement`, at the size at which the network would see the whole image, whatever `tiles` says.
    refine: Annotated[Refinement, WORD] = Field(
        default="none", description="`crf`: a dense CRF moves edges to those of the picture"
    )


class AnswerDefaults(StrictModel):
    """What an answer holds and shows: the options whose defaults do not depend on the model's classes."""

    masks: Annotated[Masks, WORD] = Field(default="rle", description="`json`: how each segment's mask is given")
    min_score: Annotated[float, Number(0, 1)] = Field(
        default=0.0, description="segments under it are left out where segments are listed"
    )
    components: Flag = Field(
        default=False, description="each connected part of a class, other than background, is a segment of its own"
    )
    alpha: Annotated[float, Number(0, 1)] = Field(default=0.5, description="`overlay` and explanations: opacity of the tint")
    tolerance: Annotated[float, Number(0, 10)] = Field(
        default=0.0, description="pixels by which polygons may leave the outline"
    )
    y_axis: Annotated[YAxis, WORD] = Field(
        default="down", description="`geojson`: `up` turns y to -height … 0, where QGIS draws a picture without georeference"
    )


class AnswerOptions(AnswerDefaults):
    """What an answer holds and shows, and its format."""

    #: One of `handler.answers.FORMATS`.
    format: str = Field(default="json", description="what is answered")
    #: Indices, ascending; None: all.
    classes: tuple[int, ...] | None = Field(default=None, description="classes to report; the rest becomes background")
    image_name: Annotated[str, ImageName()] = Field(
        default="image", description="`coco`, `coco_panoptic`, `labelme`: the image file's name in the annotations"
    )


_DEFAULT_INFERENCE = InferenceOptions()
_DEFAULT_ANSWER = AnswerOptions()


@dataclass(frozen=True)
class SegmentationRequest:
    """An image file and how to answer it. The server's defaults are already filled in."""

    image: bytes
    inference: InferenceOptions = _DEFAULT_INFERENCE
    answer: AnswerOptions = _DEFAULT_ANSWER
    #: Whether to answer with an explanation of one class instead of the segmentation.
    explain: bool = False
    #: Index of the class to explain, if the client named one; None: the class with the most pixels.
    explain_class: int | None = None
    #: Images in the same call, which share its limits.
    images_per_call: int = 1


@dataclass(frozen=True)
class ModelIdentity:
    """The name and version under which the model is served."""

    name: str
    version: str
