"""The bundle's own: one image, answered by the bytes of its segmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.answers import EncodedResponse
from handler.errors import SegmentationError
from handler.request.bodies import Instance, read_row
from handler.request.protocols.call import Reply, refusal


@dataclass(frozen=True)
class Plain:
    """A row of fields, or a raw body as `body`."""

    row: Mapping[str, Any]

    def instances(self) -> list[Instance]:
        return [read_row(self.row)]

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        del explained
        (answer,) = answers
        return Reply(answer.body, answer.content_type)

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return refusal(error, message)
