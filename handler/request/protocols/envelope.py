"""What a wire format does: hand out the images of a call, and put their answers back together."""

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
    """The body and content type that answer one call."""

    body: bytes
    content_type: str = JSON_TYPE
    #: Why the call was refused; None: it was answered.
    error: SegmentationError | None = None
    #: Headers of the response beside its content type.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The format of the images' answers, `mixed` if they have several; None: it answers no image.
    format: str | None = None
    #: How many images it answers.
    images: int = 0
    #: What these images and their segmentations look like; none of an explanation.
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
        """Report `error` to the client, with `message` as its text."""


def error_reply(error: SegmentationError, message: str, **beside: Any) -> Reply:
    """Return the error body that every wire format shares, with `beside` at its end.

    Clients of KServe and Hugging Face read `error`.
    """
    body = {"error": message, "code": error.status, "type": type(error).__name__, "message": message, **beside}
    return Reply(compact_json(body), error=error)


def check_count(images: int, limit: int) -> None:
    """Refuse a call of too many images, before any is decoded.

    Raises:
        InstancesTooMany: the call holds more than `limit` images.
    """
    if images > limit:
        raise InstancesTooMany(f"the call holds {images} images, the limit is {limit}")


def is_json(answer: EncodedResponse) -> bool:
    """Tell whether the answer can be embedded in a JSON document unchanged."""
    return answer.content_type.endswith("json")  # application/geo+json too.


def base64_text(answer: EncodedResponse) -> str:
    """Return the body of the answer as base64 text."""
    return base64.b64encode(answer.body).decode("ascii")
