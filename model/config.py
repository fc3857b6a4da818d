"""Which network to build."""

from typing import Literal

from pydantic import Field, field_validator

from model.strict import StrictModel

#: Atrous rates of ASPP by output stride (Chen et al. 2017, section 3.3: doubled when the output stride is 8).
ATROUS_RATES: dict[int, tuple[int, ...]] = {8: (12, 24, 36), 16: (6, 12, 18)}


class ModelConfig(StrictModel):
    """Everything that decides a network's layers.

    `atrous_rates` left out means the paper's for the output stride. Torchvision's MobileNetV3 departs from the paper (rates
    12, 24, 36 at output stride 16), which is why they can be given.
    """

    architecture: str = "deeplabv3"
    backbone: str = "resnet50"
    num_classes: int = Field(default=21, ge=2)
    output_stride: Literal[8, 16] = 8
    atrous_rates: tuple[int, ...] | None = None
    auxiliary_head: bool = False

    @field_validator("atrous_rates")
    @classmethod
    def _positive(cls, rates: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if rates is not None and (not rates or min(rates) < 1):
            raise ValueError("needs at least one rate, each 1 or more, for example (12, 24, 36)")
        return rates
