"""What every encoder takes and gives besides the segmentation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelIdentity:
    """The name and version under which the model is served."""

    name: str
    version: str


@dataclass(frozen=True)
class EncodedResponse:
    """An answer as it goes over the wire."""

    body: bytes
    content_type: str
