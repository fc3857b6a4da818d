"""Wire formats of a call: the bundle's own, and KServe's v1 and v2 in JSON."""

from collections.abc import Mapping
from typing import Any

from handler.option_types import Text
from handler.options import ModelIdentity
from handler.request.bodies import json_body
from handler.request.protocols.envelope import Envelope, Reply
from handler.request.protocols.kserve_v1 import KServeV1
from handler.request.protocols.kserve_v2 import KServeV2
from handler.request.protocols.plain import Plain

__all__ = ["Envelope", "Plain", "Reply", "read_envelope"]


def read_envelope(fields: Mapping[str, Any], model: ModelIdentity) -> Envelope:
    """Recognise the wire format of a call.

    Args:
        fields: a form's fields by name, bytes, text or JSON values; a raw body is the field `body`.
        model: the served model, which KServe v2 names in its replies.
    """
    form = {name: Text(value) if isinstance(value, str) else value for name, value in fields.items()}
    body = json_body(fields)
    if body is None:
        return Plain(form)
    if "instances" in body:
        return KServeV1(body)
    if "inputs" in body:
        return KServeV2(body, model)
    # A JSON object is a form in another notation. TorchServe's /invocations adds the query string's fields beside it.
    del form["body"]
    return Plain({**form, **body})
