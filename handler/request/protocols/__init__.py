"""The protocols in which requests come and are answered: the bundle's own, and KServe's two over JSON."""

from collections.abc import Mapping
from typing import Any

from handler.options import ModelIdentity
from handler.request.bodies import json_body
from handler.request.protocols.call import Call, Reply
from handler.request.protocols.kserve_v1 import KServeV1
from handler.request.protocols.kserve_v2 import KServeV2
from handler.request.protocols.plain import Plain

__all__ = ["Call", "Plain", "Reply", "open_call"]


def open_call(row: Mapping[str, Any], model: ModelIdentity) -> Call:
    """The protocol that a row is written in: KServe's are known by their key for the images."""
    body = json_body(row)
    if body is None:
        return Plain(row)
    if "instances" in body:
        return KServeV1(body)
    if "inputs" in body:
        return KServeV2(body, model)
    return Plain({**row, "body": body})
