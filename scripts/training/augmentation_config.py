"""The random changes that training applies to images."""

from typing import Self

from pydantic import Field, model_validator

from model.metadata import Fraction
from model.strict import StrictModel


class AugmentationConfig(StrictModel):
    """Ranges and probabilities of the random changes."""

    #: Side of the square crop, in pixels; null for the whole image, whose size follows from the resize policy.
    crop_size: int | None = Field(default=513, ge=32)
    #: Range of the image's size before cropping, relative to the size of the network's input in serving.
    scale_range: tuple[float, float] = (0.5, 2.0)
    flip_probability: Fraction = 0.5
    #: Largest relative change in either direction.
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    #: Largest hue shift in either direction, as a fraction of the full circle.
    hue: float = Field(default=0.0, ge=0, le=0.5)
    blur_probability: Fraction = 0.0
    #: Probability of cropping around a pixel of a random class in the image, other than background.
    focus_probability: Fraction = 0.0

    @model_validator(mode="after")
    def _check_scale_range(self) -> Self:
        low, high = self.scale_range
        if not 0 < low <= high:
            raise ValueError(f"scale_range {low}, {high}: must be above 0 and ascending, for example 0.5, 2.0")
        return self
