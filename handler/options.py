"""How one image is to be segmented and answered. The server's settings have the defaults; a request may say otherwise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field, field_validator

from model.strict import StrictModel

Refinement = Literal["none", "crf"]
Masks = Literal["rle", "png", "polygons", "none"]

LEAST_SCALE, GREATEST_SCALE = 0.25, 2.0
GREATEST_TOLERANCE = 10.0
REFINEMENTS: tuple[str, ...] = get_args(Refinement)
MASKS: tuple[str, ...] = get_args(Masks)


class InferenceOptions(StrictModel):
    """What the network sees of an image, and what refines its answer."""

    #: Sizes at which the network sees the image, as factors of what the checkpoint's resize policy says; ascending.
    scales: tuple[float, ...] = (1.0,)
    #: Whether it sees the mirror image too, at each scale.
    flip: bool = False
    #: Overlapping tiles along each side; 1: the image is seen whole. The network sees a tile as it would see the whole image:
    #: at the size that the checkpoint says, at each scale, mirrored too.
    tiles: int = Field(default=1, ge=1)
    #: `crf`: a dense CRF draws the probabilities to the edges of the image (`masks.refinement`), at the size at which it
    #: would see it whole, whatever `tiles` says.
    refine: Refinement = "none"

    @field_validator("scales")
    @classmethod
    def _usable_scales(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        return usable_scales(scales)


class AnswerOptions(StrictModel):
    """What is said of a segmentation, and how."""

    #: The response format, one of `handler.answers.FORMATS`.
    format: str = "json"
    #: How `json` gives each segment's mask.
    masks: Masks = "rle"
    #: Indices of the classes to report, ascending; the rest becomes background. None: all.
    classes: tuple[int, ...] | None = None
    #: Segments of a lower score are left out where segments are listed; pictures show them.
    min_score: float = Field(default=0.0, ge=0, le=1)
    #: Whether each connected part of a class, other than background, is a segment of its own.
    components: bool = False
    #: Opacity of the tint of an overlay.
    alpha: float = Field(default=0.5, ge=0, le=1)
    #: How far a polygon may leave the mask's outline, in pixels of the image; 0: not at all.
    tolerance: float = Field(default=0.0, ge=0, le=GREATEST_TOLERANCE)


_DEFAULT_INFERENCE = InferenceOptions()
_DEFAULT_ANSWER = AnswerOptions()


@dataclass(frozen=True)
class SegmentationRequest:
    """An image file and how its segmentation is to be answered. Options are in full: the server's defaults are filled in."""

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


def usable_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """`scales` in ascending order, so that the order in which they are asked for changes no answer.

    Raises:
        ValueError: there is none, one is out of range, or one is there twice.
    """
    if not scales:
        raise ValueError("there must be at least one scale")
    for scale in scales:
        if math.isnan(scale):
            raise ValueError(f"{scale} is not a number")
        if scale < LEAST_SCALE:
            raise ValueError(f"{scale} is below {LEAST_SCALE}")
        if scale > GREATEST_SCALE:
            raise ValueError(f"{scale} is above {GREATEST_SCALE}")
        if scales.count(scale) > 1:
            raise ValueError(f"{scale} is there more than once")
    return tuple(sorted(scales))
