"""The interface of wire formats: extract a call's images, and combine their answers into a reply."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handler.answers import EncodedResponse
from handler.answers.response import JSON_TYPE, compact_json
from handler.errors import InstancesTooMany, SegmentationError
from handler.observation import Observation
from handler.request.bodies import Instance


@dataclass(frozen=True)
class Reply:
    """The response to one call: body, content type and headers, and what it answers."""

    body: bytes
    content_type: str = JSON_TYPE
    #: Why the call was refused, or None if it was answered.
    error: SegmentationError | None = None
    #: Response headers in addition to the content type.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The format of the images' answers, `mixed` for several formats, or None if it answers no images.
    format: str | None = None
    #: The number of images it answers.
    images: int = 0
    #: Statistics of these images and their segmentations; empty for explanations.
    observations: Sequence[Observation] = ()


class Envelope(Protocol):
    """One call, read and answered in its wire format."""

    def instances(self) -> list[Instance]:
        """Return the images of the call with their options.

        Raises:
            InvalidRequest: the call breaks the rules of its wire format, or an image is missing or badly encoded.
            InvalidOption: options are not an object, or not UTF-8 text.
            InstancesTooMany: the call holds more images than the limit.
        """

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Wrap one answer per instance, in the order of `instances`; `explained`: the answers are explanations."""

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        """Return the reply that reports `error` to the client, with `message` as its text."""


def error_reply(error: SegmentationError, message: str, **extra_fields: Any) -> Reply:
    """Return the error body shared by all wire formats, followed by the fields in `extra_fields`.

    Clients of KServe and Hugging Face read `error`.
    """
    body = {"error": message, "code": error.status, "type": type(error).__name__, "message": message, **extra_fields}
    return Reply(compact_json(body), error=error)


def check_count(images: int, limit: int) -> None:
    """Refuse a call with too many images before any is decoded.

    Raises:
        InstancesTooMany: the call holds more than `limit` images.
    """
    if images > limit:
        raise InstancesTooMany(f"the call holds {images} images, the limit is {limit}")


def is_json(answer: EncodedResponse) -> bool:
    """Whether the answer can be embedded in a JSON document unchanged."""
    return answer.content_type.endswith("json")  # Including application/geo+json.


def base64_text(answer: EncodedResponse) -> str:
    """Return the answer's body as base64 text."""
    return base64.b64encode(answer.body).decode("ascii")
