"""KServe's second protocol, the Open Inference Protocol: tensors `inputs` are answered by tensors `outputs`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.bodies import Instance, image_bytes
from handler.encoders import EncodedResponse, ModelIdentity
from handler.errors import InvalidOption, InvalidRequest, SegmentationError
from handler.protocols.call import Reply, base64_text, compact, is_json, refusal
from handler.quoting import quoted

#: Parameters that say how a tensor is written, and are no options.
_ABOUT_TENSORS = {"content_type", "binary_data", "binary_data_size", "binary_data_output"}


@dataclass(frozen=True)
class KServeV2:
    """Each input is a tensor of `BYTES`, its elements images as base64 text.

    `parameters` of the call are options for all images, those of an input go before for its own.
    """

    body: Mapping[str, Any]
    model: ModelIdentity

    def instances(self) -> list[Instance]:
        shared = _parameters(self.body, "the call")
        found = []
        for tensor in self._inputs():
            fields = {**shared, **_parameters(tensor, f"input {quoted(tensor['name'])}")}
            found += [Instance(image_bytes(tensor["name"], each), fields) for each in tensor["data"]]
        return found

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """An output for each input, of its name and shape; elements are JSON text, or base64 of anything else."""
        del explained
        remaining = iter(answers)
        outputs = []
        for tensor in self._inputs():
            own = [next(remaining) for _ in tensor["data"]]
            outputs.append(
                {
                    "name": tensor["name"],
                    "shape": [len(own)],
                    "datatype": "BYTES",
                    "parameters": {"content_type": own[0].content_type},
                    "data": [each.body.decode() if is_json(each) else base64_text(each) for each in own],
                }
            )
        name, version = self.model.name, self.model.version
        identity = {"id": self.body["id"]} if isinstance(self.body.get("id"), str) else {}
        return Reply(compact({"model_name": name, "model_version": version, **identity, "outputs": outputs}))

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return refusal(error, message, kserve=True)

    def _inputs(self) -> list[Mapping[str, Any]]:
        given = self.body["inputs"]
        if not isinstance(given, list) or not given:
            raise InvalidRequest("'inputs' should be a list of at least one tensor")
        for position, tensor in enumerate(given):
            _check(tensor, position)
        return given


def _check(tensor: Any, position: int) -> None:
    """Refuse what is no tensor of images, in the words of the protocol."""
    where = f"input {position}"
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"{where} should be an object with 'name', 'shape', 'datatype' and 'data'")
    where = f"input {quoted(tensor['name'])}"
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"{where}: datatype {quoted(tensor.get('datatype'))} is not taken, send image files as 'BYTES'")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{where}: 'data' should be a list of at least one image as base64 text")
    if shape not in ([len(data)], [len(data), 1]):
        raise InvalidRequest(
            f"{where}: shape {quoted(shape)} does not fit its {len(data)} elements, it should be [{len(data)}]"
        )


def _parameters(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = holder.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise InvalidOption(f"'parameters' of {where} should be an object of options by name")
    return {name: value for name, value in given.items() if name not in _ABOUT_TENSORS}
