"""The section `handler` of model-config.yaml."""

from typing import Literal, Self

from pydantic import Field, StrictInt, StrictStr, field_validator, model_validator

from handler.limits import Limits
from handler.masks.refinement import CrfSettings
from handler.network.engines import AUTO, Precision, check_engine_name
from handler.options import MAX_TILES, AnswerDefaults, InferenceOptions
from model.strict import StrictModel


class InferenceSettings(InferenceOptions):
    """The defaults of inference options, and the limits of one request."""

    #: The most scales in one request.
    max_scales: int = Field(default=6, ge=1)
    #: The most tiles along a side.
    max_tiles: int = Field(default=4, ge=1, le=MAX_TILES)
    crf: CrfSettings = CrfSettings()

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if len(self.scales) > self.max_scales:
            raise ValueError(f"scales has {len(self.scales)} entries, max_scales is {self.max_scales}")
        if self.tiles > self.max_tiles:
            raise ValueError(f"tiles is {self.tiles}, max_tiles is {self.max_tiles}")
        return self

    @property
    def defaults(self) -> InferenceOptions:
        """The options of a request that sets none."""
        return InferenceOptions(**{name: getattr(self, name) for name in InferenceOptions.model_fields})


class AnswerSettings(AnswerDefaults):
    """The defaults of an answer's options."""

    #: Names or indices, checked against the model when it is loaded; None for all.
    classes: tuple[StrictStr | StrictInt, ...] | None = None


class HandlerSettings(StrictModel):
    """How the handler runs, as opposed to the model itself, which its checkpoint describes."""

    #: One of `handler.network.engines.ENGINES`, or `auto`.
    engine: str = AUTO
    precision: Precision = "auto"
    #: Threads per inference; 0 for every core.
    threads: int = Field(default=0, ge=0)
    #: Pixels per cell of the last features; None for the checkpoint's. 8 gives finer logits from weights trained at 16, for
    #: about three times the work.
    output_stride: Literal[8, 16] | None = None
    inference: InferenceSettings = InferenceSettings()
    answer: AnswerSettings = AnswerSettings()
    limits: Limits = Limits()

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, name: str) -> str:
        return check_engine_name(name)
