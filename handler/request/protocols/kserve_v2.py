"""KServe's second protocol, the Open Inference Protocol: tensors `inputs` are answered by tensors `outputs`.

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

#: Parameters that say how a tensor is written, and are no options.
_ABOUT_TENSORS = {"content_type", "binary_data", "binary_data_size", "binary_data_output"}
#: What the protocol knows beside them; clients name the model here as well as in the URL, and outputs that they have use for.
_OF_A_CALL = ("inputs", "parameters", "id", "outputs", "model_name", "model_version")
_OF_A_TENSOR = ("name", "shape", "datatype", "data", "parameters")


@dataclass(frozen=True)
class KServeV2:
    """Each input is a tensor of `BYTES`, its elements images as base64 text.

    `parameters` of the call are options for all images, those of an input go before for its own.
    """

    body: Mapping[str, Any]
    model: ModelIdentity

    def instances(self) -> list[Instance]:
        _require_known(self.body, _OF_A_CALL, "the call")
        self._require_answerable()
        shared = _parameters(self.body, "the call")
        found: list[Instance] = []
        for tensor in self._inputs():
            fields = {**shared, **_parameters(tensor, f"input {quoted(tensor['name'])}")}
            for each in _elements(tensor):
                with located(f"image {len(found)}"):
                    found.append(Instance(image_bytes(tensor["name"], each), fields))
        return found

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """An output for each input, of its name and shape; elements are JSON text, or base64 of anything else."""
        del explained
        remaining = iter(answers)
        outputs = []
        for tensor in self._inputs():
            own = [next(remaining) for _ in _elements(tensor)]
            outputs.append(
                {
                    "name": tensor["name"],
                    "shape": tensor["shape"],
                    "datatype": "BYTES",
                    "parameters": {"content_type": own[0].content_type},
                    "data": [each.body.decode() if is_json(each) else base64_text(each) for each in own],
                }
            )
        name, version = self.model.name, self.model.version
        identity = {} if self.body.get("id") is None else {"id": self.body["id"]}
        return Reply(compact_json({"model_name": name, "model_version": version, **identity, "outputs": outputs}))

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        return error_reply(error, message, kserve=True)

    def _require_answerable(self) -> None:
        """An id is text, and there is an output for each input, and no other to ask for."""
        names = [tensor["name"] for tensor in self._inputs()]
        outputs, identity = self.body.get("outputs"), self.body.get("id")
        if not isinstance(outputs, list | None):
            raise InvalidRequest(f"'outputs' is {json_name(outputs)}, it should be a list of tensors")
        if not isinstance(identity, str | None):
            raise InvalidRequest(f"'id' is {json_name(identity)}, it should be text")
        for output in outputs or ():
            name = output.get("name") if isinstance(output, Mapping) else output
            if name not in names:
                raise InvalidRequest(
                    f"there is no output {quoted(name)}; outputs are called as the inputs are: {listed(names)}"
                )

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
    _require_known(tensor, _OF_A_TENSOR, where)
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"{where}: datatype {quoted(tensor.get('datatype'))} is not taken, send image files as 'BYTES'")
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{where}: 'data' should be a list of at least one image as base64 text")
    if shape not in ([len(data)], [len(data), 1]):
        given = f"[{', '.join(map(quoted, shape[:4]))}]" if isinstance(shape, list) else quoted(shape)
        raise InvalidRequest(f"{where}: shape {given} does not fit its {len(data)} elements, it should be [{len(data)}]")


def _elements(tensor: Mapping[str, Any]) -> list[Any]:
    """Its images; of shape [n, 1] they may lie in lists of one each."""
    nested = len(tensor["shape"]) == 2 and all(isinstance(each, list) and len(each) == 1 for each in tensor["data"])
    return [each[0] for each in tensor["data"]] if nested else tensor["data"]


def _require_known(holder: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """An option beside `parameters` instead of in them would be passed over in silence."""
    for name in holder:
        if name not in known:
            raise InvalidRequest(f"{where}: unknown key {quoted(name)}{nearest(name, known)}; options go into 'parameters'")


def _parameters(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = holder.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidOption(f"'parameters' of {where} is {json_name(given)}, it should be an object of options by name")
    return {name: value for name, value in given.items() if name not in _ABOUT_TENSORS}
