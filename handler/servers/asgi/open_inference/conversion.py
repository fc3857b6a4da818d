"""In the worker: turn a ModelInferRequest into a call with binary tensors, and its reply into a ModelInferResponse."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from handler.application import Call
from handler.errors import InvalidRequest
from handler.request.protocols import Reply
from handler.request.protocols.binary_tensors import LENGTH_HEADER, Sections, read_elements, write_elements
from handler.servers.asgi.messages import HttpRequest
from handler.servers.asgi.open_inference.messages import message_class, parse
from handler.wording import quoted

#: Fields of `InferTensorContents` by datatype, for the datatypes that requests or responses use.
_FIELDS = {
    "BYTES": "bytes_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "FP32": "fp32_contents",
}
_DTYPES = {"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "FP32": "<f4"}


def read_call(request: HttpRequest) -> tuple[Call, Callable[[Reply], bytes]]:
    """Return the call that a ModelInferRequest makes, and a function that turns its reply into a ModelInferResponse.

    The response has raw contents if the request has them, otherwise typed contents.

    Raises:
        InvalidRequest: the message is malformed.
    """
    message = parse("inference.ModelInferRequest", request.body)
    if message is None:
        raise InvalidRequest("the request is not a ModelInferRequest")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(
            f"'raw_input_contents' has {len(raw)} tensors, it should have one for each of {len(message.inputs)} inputs"
        )
    sections = [_read_section(tensor, raw[index] if raw else None) for index, tensor in enumerate(message.inputs)]
    document = json.dumps(_build_document(message, sections)).encode()
    headers = {**request.headers, LENGTH_HEADER: str(len(document))}
    call = Call({"body": b"".join([document, *sections])}, headers, request_id=request.id)
    return call, partial(write_response, raw=bool(raw))


def write_response(reply: Reply, *, raw: bool) -> bytes:
    """Return a reply as a ModelInferResponse; an error stays JSON."""
    if reply.error is not None:
        return reply.body
    length = int(reply.headers[LENGTH_HEADER])
    document, sections = json.loads(reply.body[:length]), Sections(reply.body[length:])
    identity = {key: document[key] for key in ("model_name", "model_version", "id") if key in document}
    response = message_class("inference.ModelInferResponse")(**identity)
    for output in document["outputs"]:
        name, datatype, shape, parameters = (output[key] for key in ("name", "datatype", "shape", "parameters"))
        tensor = response.outputs.add(name=name, datatype=datatype, shape=shape)
        section = sections.take(parameters.pop("binary_data_size"), name)
        for key, value in parameters.items():
            tensor.parameters[key].string_param = value
        if raw:
            response.raw_output_contents.append(bytes(section))
        else:
            getattr(tensor.contents, _FIELDS[datatype]).extend(_decode_values(section, datatype, shape))
    content: bytes = response.SerializeToString()
    return content


def _build_document(message: Any, sections: list[bytes]) -> dict[str, Any]:
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {**_read_parameters(tensor.parameters), "binary_data_size": len(section)},
        }
        for tensor, section in zip(message.inputs, sections, strict=True)
    ]
    outputs = [{"name": output.name, "parameters": _read_parameters(output.parameters)} for output in message.outputs]
    parameters = {**_read_parameters(message.parameters), "binary_data_output": True}
    identity = {"id": message.id} if message.id else {}
    return {"inputs": inputs, "outputs": outputs, "parameters": parameters, **identity}


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by name, without those about binary data, which have no meaning in gRPC."""
    values = {name: _read_parameter(value) for name, value in parameters.items()}
    return {name: value for name, value in values.items() if name not in ("binary_data", "binary_data_size")}


def _read_parameter(parameter: Any) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    return None if kind is None else getattr(parameter, kind)


def _read_section(tensor: Any, raw: bytes | None) -> bytes:
    """Return the values of an input as bytes.

    Raises:
        InvalidRequest: the values are in two places, in the field of another type, or out of range.
    """
    location, filled_fields = f"input {quoted(tensor.name)}", [field.name for field, _ in tensor.contents.ListFields()]
    if raw is not None:
        if filled_fields:
            raise InvalidRequest(f"{location} has both 'contents' and 'raw_input_contents', it should have one of them")
        return raw
    field = _FIELDS.get(tensor.datatype)
    if field is not None and filled_fields and filled_fields != [field]:
        wrong_fields = ", ".join(name for name in filled_fields if name != field)
        raise InvalidRequest(f"{location}: the contents of {tensor.datatype} should be in {field!r}, not in {wrong_fields}")
    if tensor.datatype == "BYTES":
        return write_elements(tensor.contents.bytes_contents)
    if tensor.datatype != "UINT8":
        return b""  # The datatype itself is refused.
    try:
        return bytes(tensor.contents.uint_contents)
    except ValueError:
        invalid = next(value for value in tensor.contents.uint_contents if value > 255)
        raise InvalidRequest(
            f"{location}: 'uint_contents' holds {invalid}, values of 'UINT8' should be from 0 to 255"
        ) from None


def _decode_values(section: memoryview, datatype: str, shape: list[int]) -> list[Any]:
    if datatype == "BYTES":
        return list(read_elements(section, shape[0], datatype))
    values: list[Any] = np.frombuffer(section, _DTYPES[datatype]).tolist()
    return values
