"""Settings of the handler: the `handler:` section of model-config.yaml."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from handler.limits import Limits
from handler.masks.refinement import CrfSettings
from handler.network.engines import AUTO, Precision, known_engine
from handler.options import GREATEST_TOLERANCE, InferenceOptions, Masks
from model.strict import StrictModel


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

    #: In `handler.network.engines.ENGINES`, or `auto`.
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
