"""Settings of the handler: the `handler:` section of model-config.yaml."""

from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from handler.engines import AUTO, Precision, known_engine
from handler.options import GREATEST_TOLERANCE, InferenceOptions, Masks
from model.strict import StrictModel


class Limits(StrictModel):
    """What one request may cost. The descriptions are for those who call the endpoint."""

    #: Below `max_request_size` of config.properties, so that the answer is ours and says why.
    max_bytes: int = Field(default=32_000_000, ge=1, description="bytes of an image file")
    max_pixels: int = Field(default=64_000_000, ge=1, description="pixels of an image, width times height")
    #: A JPEG, and so an overlay, can have no more.
    max_side: int = Field(default=65_500, ge=1, le=65_500, description="pixels of an image's longer side")
    #: Six scales from 0.5 to 1.75, mirrored, of a 3:2 photograph whose short side is 520 are 7.1 million.
    max_network_pixels: int = Field(
        default=8_000_000, ge=1, description="pixels that the network sees, over all tiles, scales and mirror images"
    )
    #: A million takes 90 MB and, of a picture full of fine texture, a second; of a common photograph a fifth of that.
    max_refined_values: int = Field(
        default=12_000_000, ge=1, description="pixels of the network's input at scale 1 times classes, where a CRF refines"
    )
    max_instances: int = Field(
        default=16, ge=1, description="images of one KServe call, which share the limits of pixels and of the answer evenly"
    )
    #: TorchServe ends a worker that sends more than its `max_response_size` (6,553,500 unless configured).
    max_response_bytes: int = Field(default=6_500_000, ge=1024, description="bytes of an answer")

    def shared_by(self, images: int) -> "Limits":
        """Those of each of so many images of one call: a worker is to answer it as soon as one image of the greatest cost."""
        shared = ("max_pixels", "max_network_pixels", "max_refined_values", "max_response_bytes")
        return self.model_copy(update={name: getattr(self, name) // images for name in shared})


class CrfSettings(StrictModel):
    """The dense CRF of Krähenbühl & Koltun 2011; lengths are in pixels of the network's input at scale 1.

    Chen et al. (DeepLab, 2015 and 2018) fix the Gaussian kernel and ten iterations, and search the bilateral kernel on
    validation images of PASCAL VOC. The defaults are those of the script they published with DeepLab-LargeFOV.
    """

    iterations: int = Field(default=10, ge=1, le=100)
    #: The appearance kernel: pixels that are near and of like colour (0..255) tend to one class.
    bilateral_weight: float = Field(default=4.0, ge=0)
    bilateral_sigma_xy: float = Field(default=49.0, gt=0)
    bilateral_sigma_rgb: float = Field(default=5.0, gt=0)
    #: The smoothness kernel: pixels that are near tend to one class.
    gaussian_weight: float = Field(default=3.0, ge=0)
    gaussian_sigma_xy: float = Field(default=3.0, gt=0)


class InferenceSettings(InferenceOptions):
    """What a request gets that asks for nothing else, and how much it may ask for."""

    #: The most scales that one request may name.
    max_scales: int = Field(default=6, ge=1)
    #: The most tiles along a side.
    max_tiles: int = Field(default=4, ge=1)
    crf: CrfSettings = CrfSettings()

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        if len(self.scales) > self.max_scales:
            raise ValueError(f"scales has {len(self.scales)} entries, max_scales is {self.max_scales}")
        if self.tiles > self.max_tiles:
            raise ValueError(f"tiles is {self.tiles}, max_tiles is {self.max_tiles}")
        return self

    @property
    def defaults(self) -> InferenceOptions:
        return InferenceOptions(scales=self.scales, flip=self.flip, tiles=self.tiles, refine=self.refine)


class AnswerSettings(StrictModel):
    """What a request gets that asks for nothing else (`handler.options.AnswerOptions` says what each is)."""

    masks: Masks = "rle"
    #: Names or indices; None: all.
    classes: tuple[str | int, ...] | None = None
    min_score: float = Field(default=0.0, ge=0, le=1)
    components: bool = False
    alpha: float = Field(default=0.5, ge=0, le=1)
    tolerance: float = Field(default=0.0, ge=0, le=GREATEST_TOLERANCE)


class HandlerSettings(StrictModel):
    """How the handler runs, as opposed to what the model is (which its checkpoint says)."""

    #: In `handler.engines.ENGINES`, or `auto`.
    engine: str = AUTO
    precision: Precision = "auto"
    #: Threads of one inference; 0 leaves it to the engine, which takes every core.
    threads: int = Field(default=0, ge=0)
    #: Pixels per cell of the last features, if another than the checkpoint was trained at: 8 gives finer logits from
    #: weights of 16, for about three times the work.
    output_stride: Literal[8, 16] | None = None
    inference: InferenceSettings = InferenceSettings()
    answer: AnswerSettings = AnswerSettings()
    limits: Limits = Limits()

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, name: str) -> str:
        return known_engine(name)
