"""The configuration of a network."""

from typing import Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from model.architectures import ARCHITECTURES
from model.strict import ConfigurationError, StrictModel


class ModelConfig(StrictModel):
    """Everything that determines a network's layers.

    Omitted options have the architecture's defaults. `build_model` rejects options that the architecture does not support.
    """

    #: A name in `model.architectures.ARCHITECTURES`.
    architecture: str = "deeplabv3"
    #: A name in `model.backbones.BACKBONES`, or `timm:NAME`.
    backbone: str = "resnet50"
    num_classes: int = Field(default=21, ge=2)
    #: Image pixels per cell of the last feature map; 8 by default for every architecture.
    output_stride: Literal[8, 16] = 8
    #: Dilations of the parallel atrous convolutions, which may differ from the paper's, as in torchvision's MobileNetV3. With
    #: an empty tuple, ASPP consists of its 1×1 convolution and the image pooling.
    atrous_rates: tuple[int, ...] | None = None
    #: Factors for the dilations of the last stage's residual units; (1, 2, 4) in Chen et al. 2017, section 3.1.
    multi_grid: tuple[int, ...] | None = None
    #: Depthwise separable 3×3 convolutions in ASPP and decoder (Chen et al. 2018, section 3.2).
    separable: bool = False
    #: Channels that DeepLabV3+'s decoder reduces the low-level features to.
    low_level_channels: int | None = Field(default=None, ge=1)
    #: Where the decoder reads the low-level features: after a unit of the backbone, or after its depthwise convolution.
    low_level_tap: Literal["unit", "depthwise"] = "unit"
    #: Channels of the decoder's 3×3 convolutions.
    decoder_channels: int | None = Field(default=None, ge=1)
    #: 3×3 convolutions between ASPP (or the decoder's concatenation) and the classifier: 1 in DeepLabV3, 2 in DeepLabV3+.
    head_convolutions: int | None = Field(default=None, ge=0)
    #: Channels of ASPP's branches and result; 256 in the papers.
    aspp_channels: int | None = Field(default=None, ge=1)
    #: Kernel size of the convolution that fuses ASPP's branches; 1 in the papers.
    aspp_fusion: Literal[1, 3] | None = None
    #: Interpolate with aligned corners and return logits of the input's size, because nothing after the network aligns corners.
    align_corners: bool = False
    #: Interpolate as TensorFlow 1 does by default, with cell `i` at `i * in / out`, and return logits of the input's size.
    legacy_resize: bool = False
    #: The strides at which the backbone's convolutions pad like TensorFlow's SAME at even sizes: 3×3 kernels only at the end of
    #: each side. At other strides they pad both ends equally.
    trailing_padding: tuple[Literal[2, 4, 8, 16], ...] = ()
    auxiliary_head: bool = False
    #: Further arguments for a network that another library builds, under that library's names.
    library_options: dict[str, JsonValue] | None = None

    @field_validator("atrous_rates")
    @classmethod
    def _require_positive_rates(cls, rates: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if rates and min(rates) < 1:
            raise ValueError("needs rates of 1 or more, for example (12, 24, 36), or none: ()")
        return rates

    @field_validator("multi_grid")
    @classmethod
    def _require_positive_factors(cls, factors: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if factors is not None and (not factors or min(factors) < 1):
            raise ValueError("needs at least one factor, each 1 or more, for example (1, 2, 4)")
        return factors

    @model_validator(mode="after")
    def _require_one_resize(self) -> Self:
        if self.align_corners and self.legacy_resize:
            raise ValueError("align_corners and legacy_resize: set one of them; they place the cells differently")
        return self

    @property
    def is_smp(self) -> bool:
        """Whether segmentation_models.pytorch builds the network (see `Architecture.is_smp`)."""
        return self.architecture in ARCHITECTURES and ARCHITECTURES[self.architecture].is_smp

    def with_output_stride(self, output_stride: Literal[8, 16]) -> Self:
        """Return the configuration for the same weights at another output stride, with explicit atrous rates scaled to match.

        Raises:
            ConfigurationError: segmentation_models.pytorch builds the network. Its weights only fit the output stride they were
                trained at, because the library also dilates a stage's first unit and does not scale its rates.
        """
        if output_stride != self.output_stride and self.is_smp:
            raise ConfigurationError(
                f"output stride {output_stride}: weights of {self.architecture} fit only the output stride they were trained "
                f"at, {self.output_stride}"
            )
        rates = self.atrous_rates
        if rates is not None:
            rates = tuple(max(1, rate * self.output_stride // output_stride) for rate in rates)
        return self.model_copy(update={"output_stride": output_stride, "atrous_rates": rates})
