"""KServe's v1 protocol, from TensorFlow Serving: `{"instances": […]}` is answered with `{"predictions": […]}`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidRequest, SegmentationError, error_context
from handler.request.bodies import Instance, image_bytes, read_fields, read_options
from handler.request.protocols.envelope import Reply, base64_text, check_count, error_reply, is_json

#: Keys that are not options. Clients of TensorFlow Serving name a signature; a segmentation model has only one.
_PROTOCOL_KEYS = ("instances", "signature_name")
#: TensorFlow's image models take a key with each image to identify its answer; here the answers are in order.
_INSTANCE_KEY = "key"


@dataclass(frozen=True)
class KServeV1:
    """A call whose instances are images, each as base64 text or as an object like the bundle's own JSON body.

    Keys other than `instances` are options for all images; an instance's own options override them.
    """

    body: Mapping[str, Any]
    max_instances: int

    def instances(self) -> list[Instance]:
        entries = self.body["instances"]
        if not isinstance(entries, list) or not entries:
            raise InvalidRequest("'instances' should be a list of at least one image")
        check_count(len(entries), self.max_instances)
        call_options = read_options({name: value for name, value in self.body.items() if name not in _PROTOCOL_KEYS})
        instances = [_read_instance(entry, position) for position, entry in enumerate(entries)]
        return [Instance(instance.image, {**call_options, **instance.fields}) for instance in instances]

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Embed JSON answers unchanged, others as `{"b64", "content_type"}`."""
        key = b'{"explanations":[' if explained else b'{"predictions":['
        return Reply(key + b",".join(_encode_prediction(answer) for answer in answers) + b"]}")

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return error_reply(error, message)


def _read_instance(entry: Any, position: int) -> Instance:
    with error_context(f"image {position}"):
        if isinstance(entry, Mapping) and set(entry) != {"b64"}:
            return read_fields({name: value for name, value in entry.items() if name != _INSTANCE_KEY})
        return Instance(image_bytes("instances", entry), {})


def _encode_prediction(answer: EncodedResponse) -> bytes:
    if is_json(answer):
        return answer.body
    return compact_json({"b64": base64_text(answer), "content_type": answer.content_type})
