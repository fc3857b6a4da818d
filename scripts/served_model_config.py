"""The keys of model-config.yaml: TorchServe's settings for a model, and ours under `handler`."""

from typing import Any, Self

from pydantic import Field, model_validator

from handler.settings import HandlerSettings
from model.strict import StrictModel


class ServedModelConfig(StrictModel):
    """The contents of model-config.yaml, checked when an archive is built because TorchServe ignores unknown keys.

    The keys are spelt as in TorchServe 0.12 (org.pytorch.serve.archive.model.ModelConfig).
    """

    minWorkers: int | None = Field(default=None, ge=1)
    maxWorkers: int | None = Field(default=None, ge=1)
    batchSize: int = Field(default=1, ge=1)
    #: Milliseconds; TorchServe treats 0 as its default.
    maxBatchDelay: int = Field(default=100, ge=1)
    #: Seconds.
    responseTimeout: int = Field(default=120, ge=1)
    #: Seconds.
    startupTimeout: int = Field(default=120, ge=1)
    jobQueueSize: int = Field(default=100, ge=1)
    #: Seconds.
    maxRetryTimeoutInSec: int = Field(default=300, ge=1)
    #: Milliseconds; with 0, clients wait indefinitely.
    clientTimeoutInMills: int = Field(default=0, ge=0)
    deviceType: str | None = None
    deviceIds: tuple[int, ...] | None = None
    useJobTicket: bool = False
    useVenv: bool = False
    handler: HandlerSettings = HandlerSettings()

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_section(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if not (name == "handler" and value is None)}

    @model_validator(mode="after")
    def _check_worker_counts(self) -> Self:
        if (self.minWorkers is None) != (self.maxWorkers is None):
            raise ValueError("minWorkers and maxWorkers only count together; give both or neither")
        return self
