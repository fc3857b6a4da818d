"""The bundle's own wire format: one image, answered with the bytes of its segmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.answers import EncodedResponse
from handler.errors import SegmentationError
from handler.request.bodies import Instance, read_fields
from handler.request.protocols.envelope import Reply, error_reply


@dataclass(frozen=True)
class Plain:
    """A call as the fields of a form or JSON object; a raw body is the field `body`."""

    fields: Mapping[str, Any]

    def instances(self) -> list[Instance]:
        return [read_fields(self.fields)]

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        del explained
        (answer,) = answers
        return Reply(answer.body, answer.content_type)

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return error_reply(error, message)


@dataclass(frozen=True)
class Unreadable(Plain):
    """A call whose wire format cannot be determined, because of `error`."""

    error: SegmentationError

    def instances(self) -> list[Instance]:
        raise self.error
