"""Settings of the handler: the `handler:` section of model-config.yaml."""

from pydantic import Field

from model.strict import StrictModel


class Limits(StrictModel):
    """What one request may cost."""

    #: Bytes of an image file. Below `max_request_size` of config.properties, so that the answer is ours and says why.
    max_bytes: int = Field(default=32_000_000, ge=1)
    #: Pixels of an image, width times height.
    max_pixels: int = Field(default=64_000_000, ge=1)
    #: Pixels of an image's longer side. A JPEG, and so an overlay, can have no more; and a row's logits must fit into memory.
    max_side: int = Field(default=65_500, ge=1, le=65_500)
    #: Bytes of an answer. TorchServe ends a worker that sends more than its `max_response_size` (6,553,500 unless configured).
    max_response_bytes: int = Field(default=6_500_000, ge=1024)


class HandlerSettings(StrictModel):
    """How the handler runs, as opposed to what the model is (which its checkpoint says)."""

    engine: str = "torch"
    #: Threads of one inference; 0 leaves it to the engine, which takes every core.
    threads: int = Field(default=0, ge=0)
    limits: Limits = Limits()
