"""KServe's v2 protocol, the Open Inference Protocol: tensors `inputs` are answered by tensors `outputs`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidOption, InvalidRequest, SegmentationError, located
from handler.options import ModelIdentity
from handler.request.bodies import Instance, image_bytes
from handler.request.protocols.binary_tensors import BINARY_TYPE, LENGTH_HEADER, Sections, read_elements, write_elements
from handler.request.protocols.envelope import Reply, base64_text, check_count, error_reply, is_json
from handler.wording import json_name, listed, quoted
from model.strict import nearest

#: The protocol's own parameters, which are not options: of its extensions for sequences, scheduling, classification and binary
#: tensors, and of the clients' codecs.
_PROTOCOL_PARAMETERS = {
    *("binary_data", "binary_data_output", "binary_data_size", "classification", "content_type", "headers", "priority"),
    *("sequence_end", "sequence_id", "sequence_start", "timeout"),
}
#: Parameters that Triton reserves.
_RESERVED_PREFIX = "triton_"
#: Clients repeat the URL's model name and version in the call, and name the outputs that they use.
_CALL_KEYS = ("inputs", "parameters", "id", "outputs", "model_name", "model_version")
_TENSOR_KEYS = ("name", "shape", "datatype", "data", "parameters")


@dataclass(frozen=True)
class KServeV2:
    """Each input is a tensor of `BYTES` whose elements are images: base64 text in JSON, or files in sections after it.

    The call's `parameters` are options for all images; an input's own parameters override them.
    """

    body: Mapping[str, Any]
    model: ModelIdentity
    max_instances: int
    #: What follows the JSON; None: the body is JSON alone.
    sections: bytes | None = None

    def instances(self) -> list[Instance]:
        _require_known_keys(self.body, _CALL_KEYS, "the call")
        check_count(sum(len(tensor.elements) for tensor in self._inputs), self.max_instances)
        self._check_id_and_outputs()
        shared = _options(self.body, "the call")
        instances: list[Instance] = []
        for tensor in self._inputs:
            options = {**shared, **_options(tensor.holder, f"input {quoted(tensor.name)}")}
            for element in tensor.elements:
                with located(f"image {len(instances)}"):
                    instances.append(Instance(image_bytes(tensor.name, element), options))
        return instances

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Return an output of each input's name and shape.

        Elements are JSON text, or base64 of other answers; where the client asks for binary tensors, the answers' bytes.
        """
        del explained
        remaining = iter(answers)
        outputs, sections = [], []
        for tensor in self._inputs:
            own = [next(remaining) for _ in tensor.elements]
            if self._wants_binary(tensor.name):
                sections.append(write_elements([answer.body for answer in own]))
                outputs.append(_output(tensor, own, binary_data_size=len(sections[-1])))
            else:
                data = [answer.body.decode() if is_json(answer) else base64_text(answer) for answer in own]
                outputs.append({**_output(tensor, own), "data": data})
        name, version = self.model.name, self.model.version
        identity = {} if self.body.get("id") is None else {"id": self.body["id"]}
        document = compact_json({"model_name": name, "model_version": version, **identity, "outputs": outputs})
        if not sections:
            return Reply(document)
        return Reply(b"".join([document, *sections]), BINARY_TYPE, headers={LENGTH_HEADER: str(len(document))})

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        """Report `error` with all keys of an answer: TorchServe's gRPC ends the worker if one is missing."""
        identity = self.body.get("id")
        return error_reply(
            error,
            message,
            id=identity if isinstance(identity, str) else "",
            model_name=self.model.name,
            model_version=self.model.version,
            outputs=[],
        )

    def _check_id_and_outputs(self) -> None:
        names = [tensor.name for tensor in self._inputs]
        outputs, identity = self.body.get("outputs"), self.body.get("id")
        if not isinstance(outputs, list | None):
            raise InvalidRequest(f"'outputs' is {json_name(outputs)}, it should be a list of tensors")
        if not isinstance(identity, str | None):
            raise InvalidRequest(f"'id' is {json_name(identity)}, it should be text")
        _flag(self.body, "binary_data_output", "the call")
        for output in outputs or ():
            name = output.get("name") if isinstance(output, Mapping) else output
            if name not in names:
                raise InvalidRequest(f"there is no output {quoted(name)}; outputs are named like the inputs: {listed(names)}")
            if isinstance(output, Mapping):
                _flag(output, "binary_data", f"output {quoted(name)}")

    def _wants_binary(self, name: str) -> bool:
        """Tell whether the client asks for the output `name` in binary; its own parameter goes before that of the call."""
        for output in self.body.get("outputs") or ():
            if isinstance(output, Mapping) and output["name"] == name:
                wish = _flag(output, "binary_data", name)
                if wish is not None:
                    return wish
        return bool(_flag(self.body, "binary_data_output", "the call"))

    @cached_property
    def _inputs(self) -> list["_Tensor"]:
        inputs = self.body["inputs"]
        if not isinstance(inputs, list) or not inputs:
            raise InvalidRequest("'inputs' should be a list of at least one tensor")
        sections = None if self.sections is None else Sections(self.sections)
        tensors = [_read_tensor(tensor, position, sections, self.max_instances) for position, tensor in enumerate(inputs)]
        if sections is not None:
            sections.require_end()
        return tensors


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: list[int]
    #: Images: base64 text, an object that holds it, or bytes.
    elements: Sequence[Any]
    #: The object with the tensor's `parameters`.
    holder: Mapping[str, Any]


def _output(tensor: _Tensor, answers: Sequence[EncodedResponse], **parameters: int) -> dict[str, Any]:
    """Return the output of an input tensor, without its data."""
    described = {"content_type": answers[0].content_type, **parameters}
    return {"name": tensor.name, "shape": tensor.shape, "datatype": "BYTES", "parameters": described}


def _read_tensor(tensor: Any, position: int, sections: Sections | None, max_instances: int) -> _Tensor:
    """Return an input tensor with its elements.

    Raises:
        InvalidRequest: the tensor is malformed.
        InstancesTooMany: it holds more images than the limit.
    """
    where = f"input {position}"
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("name"), str):
        raise InvalidRequest(f"{where} should be an object with 'name', 'shape', 'datatype' and 'data'")
    where = f"input {quoted(tensor['name'])}"
    _require_known_keys(tensor, _TENSOR_KEYS, where)
    if tensor.get("datatype") != "BYTES":
        raise InvalidRequest(f"{where}: datatype {quoted(tensor.get('datatype'))} is not supported, send files as 'BYTES'")
    size = _parameters(tensor, where).get("binary_data_size")
    if sections is None or size is None:
        elements = _json_elements(tensor, where)
    elif "data" in tensor:
        raise InvalidRequest(f"{where} has both 'data' and 'binary_data_size', it should have one of them")
    else:
        count = _count(tensor.get("shape"), where)
        check_count(count, max_instances)
        elements = read_elements(sections.take(size, where), count, where)
    return _Tensor(tensor["name"], tensor["shape"], elements, tensor)


def _json_elements(tensor: Mapping[str, Any], where: str) -> list[Any]:
    """Return the images in `data`; with shape [n, 1], each may be wrapped in a list of its own."""
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or not data:
        raise InvalidRequest(f"{where}: 'data' should be a list of at least one image as base64 text")
    # The type of each side is checked because True == 1 and 1.0 == 1.
    if shape not in ([len(data)], [len(data), 1]) or any(type(side) is not int for side in shape):
        raise InvalidRequest(
            f"{where}: shape {_quoted_shape(shape)} does not fit its {len(data)} elements, it should be [{len(data)}]"
        )
    nested = len(shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in data)
    return [row[0] for row in data] if nested else data


def _count(shape: Any, where: str) -> int:
    """Return how many elements a tensor of shape [n] or [n, 1] has."""
    match shape:
        case [int(count)] | [int(count), 1] if count > 0 and all(type(side) is int for side in shape):
            return count
    raise InvalidRequest(f"{where}: shape {_quoted_shape(shape)} should be [n], for n images")


def _quoted_shape(shape: Any) -> str:
    return f"[{', '.join(map(quoted, shape[:4]))}]" if isinstance(shape, list) else quoted(shape)


def _require_known_keys(holder: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse unknown keys: an option beside `parameters` instead of in them would be ignored silently."""
    for name in holder:
        if name not in known:
            raise InvalidRequest(f"{where}: unknown key {quoted(name)}{nearest(name, known)}; options go into 'parameters'")


def _parameters(holder: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if not isinstance(parameters, Mapping | None):
        raise InvalidOption(f"'parameters' of {where} is {json_name(parameters)}, it should be an object of options by name")
    return parameters or {}


def _flag(holder: Mapping[str, Any], name: str, where: str) -> bool | None:
    value = _parameters(holder, where).get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"{name!r} of {where} is {json_name(value)}, it should be true or false")
    return value


def _options(holder: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the parameters that are options."""
    parameters = _parameters(holder, where)
    return {
        name: value
        for name, value in parameters.items()
        if name not in _PROTOCOL_PARAMETERS and not name.startswith(_RESERVED_PREFIX)
    }
