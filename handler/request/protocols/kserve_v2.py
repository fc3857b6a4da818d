"""KServe's v2 protocol, the Open Inference Protocol: tensors `inputs` are answered by tensors `outputs`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidOption, InvalidRequest, SegmentationError, located
from handler.options import ModelIdentity
from handler.request.bodies import Instance, image_bytes
from handler.request.protocols.envelope import Reply, base64_text, error_reply, is_json
from handler.wording import json_name, listed, quoted
from model.strict import nearest

#: Parameters about a tensor's encoding, which are not options.
_TENSOR_PARAMETERS = {"content_type", "binary_data", "binary_data_size", "binary_data_output"}
#: Clients repeat the URL's model name and version in the call, and name the outputs that they use.
_CALL_KEYS = ("inputs", "parameters", "id", "outputs", "model_name", "model_version")
_TENSOR_KEYS = ("name", "shape", "datatype", "data", "parameters")


@dataclass(frozen=True)
class KServeV2:
    """Each input is a tensor of `BYTES` whose elements are images as base64 text.

    The call's `parameters` are options for all images; an input's own parameters override them.
    """

    body: Mapping[str, Any]
    model: ModelIdentity

    def instances(self) -> list[Instance]:
        _require_known_keys(self.body, _CALL_KEYS, "the call")
        self._check_id_and_outputs()
        shared = _options(self.body, "the call")
        instances: list[Instance] = []
        for tensor in self._inputs():
            options = {**shared, **_options(tensor, f"input {quoted(tensor['name'])}")}
            for element in _elements(tensor):
                with located(f"image {len(instances)}"):
                    instances.append(Instance(image_bytes(tensor["name"], element), options))
        return instances

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Return an output of each input's name and shape; elements are JSON text, or base64 of other answers."""
        del explained
        remaining = iter(answers)
        outputs = [_output(tensor, [next(remaining) for _ in _elements(tensor)]) for tensor in self._inputs()]
        name, version = self.model.name, self.model.version
        identity = {} if self.body.get("id") is None else {"id": self.body["id"]}
        return Reply(compact_json({"model_name": name, "model_version": version, **identity, "outputs": outputs}))

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return error_reply(error, message, kserve=True)

    def _check_id_and_outputs(self) -> None:
        names = [tensor["name"] for tensor in self._inputs()]
        outputs, identity = self.body.get("outputs"), self.body.get("id")
        if not isinstance(outputs, list | None):
            raise InvalidRequest(f"'outputs' is {json_name(outputs)}, it should be a list of tensors")
        if not isinstance(identity, str | None):
            raise InvalidRequest(f"'id' is {json_name(identity)}, it should be text")
        for output in outputs or ():
            name = output.get("name") if isinstance(output, Mapping) else output
            if name not in names:
                raise InvalidRequest(f"there is no output {quoted(name)}; outputs are named like the inputs: {listed(names)}")

    def _inputs(self) -> list[Mapping[str, Any]]:
        inputs = self.body["inputs"]
        if not isinstance(inputs, list) or not inputs:
            raise InvalidRequest("'inputs' should be a list of at least one tensor")
        for position, tensor in enumerate(inputs):
            _check_tensor(tensor, position)
        return inputs


def _output(tensor: Mapping[str, Any], answers: Sequence[EncodedResponse]) -> dict[str, Any]:
    return {
        "name": tensor["name"],
        "shape": tensor["shape"],
        "datatype": "BYTES",
        "parameters": {"content_type": answers[0].content_type},
        "data": [answer.body.decode() if is_json(answer) else base64_text(answer) for answer in answers],
    }


def _check_tensor(tensor: Any, position: int) -> None:
    """Reject malformed input tensors."""
    where = f"input {position}"
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"{where} should be an object with 'name', 'shape', 'datatype' and 'data'")
    where = f"input {quoted(tensor['name'])}"
    _require_known_keys(tensor, _TENSOR_KEYS, where)
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"{where}: datatype {quoted(tensor.get('datatype'))} is not supported, send files as 'BYTES'")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{where}: 'data' should be a list of at least one image as base64 text")
    # The type of each side is checked because True == 1 and 1.0 == 1.
    if shape not in ([len(data)], [len(data), 1]) or any(type(side) is not int for side in shape):
        sides = f"[{', '.join(map(quoted, shape[:4]))}]" if isinstance(shape, list) else quoted(shape)
        raise InvalidRequest(f"{where}: shape {sides} does not fit its {len(data)} elements, it should be [{len(data)}]")


def _elements(tensor: Mapping[str, Any]) -> list[Any]:
    """Return the images of a tensor; with shape [n, 1], each may be wrapped in a list of its own."""
    nested = len(tensor["shape"]) == 2 and all(isinstance(row, list) and len(row) == 1 for row in tensor["data"])
    return [row[0] for row in tensor["data"]] if nested else tensor["data"]


def _require_known_keys(holder: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse unknown keys: an option beside `parameters` instead of in them would be ignored silently."""
    for name in holder:
        if name not in known:
            raise InvalidRequest(f"{where}: unknown key {quoted(name)}{nearest(name, known)}; options go into 'parameters'")


def _options(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise InvalidOption(f"'parameters' of {where} is {json_name(parameters)}, it should be an object of options by name")
    return {name: value for name, value in parameters.items() if name not in _TENSOR_PARAMETERS}
