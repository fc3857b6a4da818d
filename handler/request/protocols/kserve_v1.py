"""KServe's first protocol, TensorFlow Serving's: `{"instances": […]}` is answered by `{"predictions": […]}`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidRequest, SegmentationError, located
from handler.request.bodies import Instance, image_bytes, read_fields, read_options
from handler.request.protocols.envelope import Reply, base64_text, error_reply, is_json

#: TensorFlow Serving's clients name a signature; there is one here.
_NO_OPTIONS = ("instances", "signature_name")


@dataclass(frozen=True)
class KServeV1:
    """Each instance is an image as base64 text, or an object like the bundle's own JSON body.

    What stands beside `instances` are options for all of them; an instance's own go before.
    """

    body: Mapping[str, Any]

    def instances(self) -> list[Instance]:
        given = self.body["instances"]
        if not isinstance(given, list) or not given:
            raise InvalidRequest("'instances' should be a list of at least one image")
        shared = read_options({name: value for name, value in self.body.items() if name not in _NO_OPTIONS})
        own = [_instance(each, position) for position, each in enumerate(given)]
        return [Instance(each.image, {**shared, **each.fields}) for each in own]

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """JSON answers stand in the list as they are, others as `{"b64", "content_type"}`."""
        key = b'{"explanations":[' if explained else b'{"predictions":['
        return Reply(key + b",".join(_prediction(answer) for answer in answers) + b"]}")

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return error_reply(error, message, kserve=True)


def _instance(given: Any, position: int) -> Instance:
    with located(f"image {position}"):
        if isinstance(given, Mapping) and set(given) != {"b64"}:
            return read_fields(given)
        return Instance(image_bytes("instances", given), {})


def _prediction(answer: EncodedResponse) -> bytes:
    if is_json(answer):
        return answer.body
    return compact_json({"b64": base64_text(answer), "content_type": answer.content_type})
