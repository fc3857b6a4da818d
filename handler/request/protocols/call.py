"""What a protocol does: hand out the images of a call, and put their answers back together."""

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
    """What goes back over the wire for one call."""

    body: bytes
    content_type: str = JSON_TYPE
    #: None: the call was answered.
    error: SegmentationError | None = None


class Call(Protocol):
    """One call as its protocol writes it."""

    def instances(self) -> list[Instance]:
        """The images it holds, with their options.

        Raises:
            InvalidRequest: it is not written as its protocol says.
        """

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """One answer for each of `instances`, in their order; `explained`: they are explanations."""

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        """The call could not be answered; `message` says why."""


def refusal(error: SegmentationError, message: str, *, kserve: bool = False) -> Reply:
    """The error as every protocol tells it; KServe's clients look for `error`."""
    body = {"code": error.status, "type": type(error).__name__, "message": message}
    return Reply(compact_json({"error": message, **body} if kserve else body), error=error)


def is_json(answer: EncodedResponse) -> bool:
    """Whether the answer can be part of a JSON document as it is."""
    return answer.content_type.endswith("json")  # application/geo+json too.


def base64_text(answer: EncodedResponse) -> str:
    return base64.b64encode(answer.body).decode("ascii")
