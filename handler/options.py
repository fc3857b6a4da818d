"""How one image is to be segmented. The server's settings have the defaults; a request may say otherwise."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field, field_validator

from model.strict import StrictModel

Refinement = Literal["none", "crf"]

LEAST_SCALE, GREATEST_SCALE = 0.25, 2.0
REFINEMENTS: tuple[str, ...] = get_args(Refinement)


class InferenceOptions(StrictModel):
    """What the network sees of an image, and what refines its answer."""

    #: Sizes at which the network sees the image, as factors of what the checkpoint's resize policy says; ascending.
    scales: tuple[float, ...] = (1.0,)
    #: Whether it sees the mirror image too, at each scale.
    flip: bool = False
    #: Overlapping tiles along each side; 1: the image is seen whole. The network sees a tile as it would see the whole image:
    #: at the size that the checkpoint says, at each scale, mirrored too.
    tiles: int = Field(default=1, ge=1)
    #: `crf`: a dense CRF draws the probabilities to the edges of the image (`handler.refine`), at the size at which the network
    #: would see it whole, whatever `tiles` says.
    refine: Refinement = "none"

    @field_validator("scales")
    @classmethod
    def _usable_scales(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        return usable_scales(scales)


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
