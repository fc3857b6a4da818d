"""Wire formats of a call: the bundle's own, KServe's v1 and v2, and Hugging Face's."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handler.errors import InvalidRequest, SegmentationError
from handler.limits import Limits
from handler.option_types import Text
from handler.options import ModelIdentity
from handler.request.bodies import json_body
from handler.request.content_encoding import decode_content
from handler.request.headers import header_value
from handler.request.protocols.binary_tensors import LENGTH_HEADER, split_body
from handler.request.protocols.envelope import Envelope, Reply
from handler.request.protocols.hugging_face import HuggingFace
from handler.request.protocols.kserve_v1 import KServeV1
from handler.request.protocols.kserve_v2 import KServeV2
from handler.request.protocols.plain import Plain, Unreadable

__all__ = ["Envelope", "Plain", "Reply", "read_envelope"]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_LIMITS = Limits()


def read_envelope(
    fields: Mapping[str, Any],
    model: ModelIdentity,
    headers: Mapping[str, str] = _NO_HEADERS,
    limits: Limits = _DEFAULT_LIMITS,
) -> Envelope:
    """Recognise the wire format of a call. If it cannot be read, the envelope raises the error in `instances`.

    Args:
        fields: form fields by name, as bytes, text or JSON values; a raw body is the field `body`.
        model: the served model, which KServe v2 names in its replies.
        headers: the client's headers, with names in any case; they state a body's compression and where binary tensors begin.
        limits: limits on the bytes of an inflated body and on the images in a call.
    """
    try:
        return _recognise(decode_content(fields, headers, limits.max_bytes), model, headers, limits)
    except SegmentationError as error:
        return Unreadable({}, error)


def _recognise(fields: Mapping[str, Any], model: ModelIdentity, headers: Mapping[str, str], limits: Limits) -> Envelope:
    length, body = header_value(headers, LENGTH_HEADER), fields.get("body")
    if length is not None and isinstance(body, bytes | bytearray):
        document, sections = split_body(body, length)
        if not isinstance(document, Mapping) or "inputs" not in document:
            raise InvalidRequest("the JSON before the binary tensors should be an object with 'inputs'")
        return KServeV2(document, model, limits, sections)
    form = {name: Text(value) if isinstance(value, str) else value for name, value in fields.items()}
    json_object = json_body(fields)
    if json_object is None:
        return Plain(form)
    if "instances" in json_object:
        return KServeV1(json_object, limits.max_instances)
    if "inputs" in json_object and not isinstance(json_object["inputs"], str):
        return KServeV2(json_object, model, limits)
    # A JSON object is a form in another notation. TorchServe's /invocations adds the query string's fields to it.
    del form["body"]
    return HuggingFace({**form, **json_object}) if "inputs" in json_object else Plain({**form, **json_object})
