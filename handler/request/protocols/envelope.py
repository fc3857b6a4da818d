"""What a wire format does: hand out the images of a call, and put their answers back together."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from handler.answers import EncodedResponse
from handler.answers.response import JSON_TYPE, compact_json
from handler.errors import SegmentationError
from handler.request.bodies import Instance


@dataclass(frozen=True)
class Reply:
    """The body and content type that answer one call."""

    body: bytes
    content_type: str = JSON_TYPE
    #: Why the call was refused; None: it was answered.
    error: SegmentationError | None = None


class Envelope(Protocol):
    """One call, read and answered in its wire format."""

    def instances(self) -> list[Instance]:
        """Return the images of the call with their options.

        Raises:
            InvalidRequest: the call breaks the rules of its wire format, or an image is missing or badly encoded.
            InvalidOption: options are not an object, or not UTF-8 text.
        """

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Wrap one answer per instance, in the order of `instances`; `explained`: the answers are explanations."""

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        """Report `error` to the client, with `message` as its text."""


def error_reply(error: SegmentationError, message: str, *, kserve: bool = False) -> Reply:
    """Return the error body that every wire format shares; `kserve` adds the key `error`, which KServe's clients read."""
    body = {"code": error.status, "type": type(error).__name__, "message": message}
    return Reply(compact_json({"error": message, **body} if kserve else body), error=error)


def is_json(answer: EncodedResponse) -> bool:
    """Tell whether the answer can be embedded in a JSON document unchanged."""
    return answer.content_type.endswith("json")  # application/geo+json too.


def base64_text(answer: EncodedResponse) -> str:
    """Return the body of the answer as base64 text."""
    return base64.b64encode(answer.body).decode("ascii")
