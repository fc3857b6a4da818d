"""Check objects of KEDA, the Prometheus operator and KServe against the types of Python packages generated from their schemas.

Runs in the client libraries' environment. Reads a list of objects (JSON) and writes what is wrong with each.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve.models
import kubernetes.client.models
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from pydantic import ValidationError

_PYDANTIC = {"ScaledObject": ScaledObject, "ServiceMonitor": ServiceMonitor}
_SIMPLE: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
_CONTAINER = re.compile(r"(list|dict)[\[(](?:str, )?(.+)[\])]", re.IGNORECASE)


def problems(document: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an object, including unknown fields."""
    kind = document["kind"]
    if kind not in _PYDANTIC:
        yield from _check(document, f"V1beta1{kind}", kind)
        return
    try:
        _PYDANTIC[kind].model_validate(document, extra="forbid", strict=True)
    except ValidationError as error:
        yield from (f"{kind}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors())


def _check(value: Any, kind: str, path: str) -> Iterator[str]:
    """Compare a value with a type in the notation of generated clients: `int`, `list[V1Container]`, `dict(str, str)`."""
    container = _CONTAINER.fullmatch(kind)
    if kind in _SIMPLE:
        # In Python a boolean is a number.
        if not isinstance(value, _SIMPLE[kind]) or (kind in {"int", "float"} and isinstance(value, bool)):
            yield f"{path}: {value!r} is not {kind}"
    elif container and isinstance(value, list if container[1].lower() == "list" else dict):
        for key, item in enumerate(value) if isinstance(value, list) else value.items():
            yield from _check(item, container[2], f"{path}.{key}")
    elif isinstance(value, dict) and not container:
        yield from _check_fields(value, kind, path)
    else:
        yield f"{path}: {value!r} is not {kind}"


def _check_fields(fields: dict[str, Any], kind: str, path: str) -> Iterator[str]:
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind)
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    for name, value in fields.items():
        if name in attributes:
            yield from _check(value, model.openapi_types[attributes[name]], f"{path}.{name}")
        else:
            yield f"{path}.{name}: {kind} has no such field"


sys.stdout.write(json.dumps([list(problems(document)) for document in json.load(sys.stdin)]))
