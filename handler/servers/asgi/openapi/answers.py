"""Responses with status 200: a model's formats, KServe's responses, and probes."""

from collections.abc import Iterable
from typing import Any

from handler.servers.asgi.messages import Interface
from handler.servers.asgi.openapi.bodies import LENGTH_HEADER

Json = dict[str, Any]

_JSON_TYPE = "application/json"
_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}

SEGMENT: Json = {
    "type": "object",
    "properties": {
        "index": _COUNT,
        "label": _TEXT,
        "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        "pixels": {"type": "integer", "minimum": 1},
        "fraction": {"type": "number", "minimum": 0, "maximum": 1},
        "bbox": {"type": "array", "items": _COUNT, "minItems": 4, "maxItems": 4, "description": "x, y, width, height"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "mask": {
            "type": "object",
            "properties": {
                "size": {"type": "array", "items": _COUNT},
                "counts": _TEXT,
                "png": _TEXT,
                "polygons": {"type": "array"},
            },
            "required": ["size"],
        },
    },
    "required": ["index", "label", "color", "pixels", "fraction", "bbox", "score"],
}
SEGMENTATION: Json = {
    "description": "The format `json`.",
    "type": "object",
    "properties": {
        "model": _TEXT,
        "version": _TEXT,
        "image": {"type": "object", "properties": {"width": _COUNT, "height": _COUNT}, "required": ["width", "height"]},
        "review": {"type": "number", "minimum": 0, "maximum": 1, "description": "1 minus the expected mean IoU"},
        "segments": {"type": "array", "items": SEGMENT},
    },
    "required": ["model", "version", "image", "review", "segments"],
}
TENSOR: Json = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "datatype": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
    "required": ["name", "datatype", "shape"],
}
V2_ANSWER: Json = {
    "type": "object",
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
    },
    "required": ["model_name", "model_version", "outputs"],
}


def answer(description: str, content: Json, headers: Json | None = None) -> Json:
    """Return a response, with the request id header that every response has."""
    all_headers = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}, **(headers or {})}
    return {"description": description, "headers": all_headers, **({"content": content} if content else {})}


def json_answer(description: str, schema: Json) -> Json:
    return answer(description, {_JSON_TYPE: {"schema": schema}})


def object_of(**properties: Json) -> Json:
    """Return the schema of an object with these required properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def segmentations(interface: Interface) -> Json:
    """Return the response in any of the model's formats; formats may share a content type."""
    lines_by_type: dict[str, list[str]] = {}
    for name, (content_type, about) in interface.formats.items():
        lines_by_type.setdefault(content_type, []).append(f"- `{name}`: {about}")
    content = {kind: {"schema": _format_schema(kind, lines)} for kind, lines in lines_by_type.items()}
    return answer("The segmentation, in the requested format.", content)


def _format_schema(content_type: str, lines: Iterable[str]) -> Json:
    description = "\n".join(lines)
    if content_type == _JSON_TYPE:
        # The formats of other programs. schemathesis 4.32 crashes on `type: [object, array]` in responses.
        return {"description": description, "anyOf": [_ref("Segmentation"), {"type": "object"}, {"type": "array"}]}
    if content_type.endswith("json"):
        return {"description": description, "type": "object"}
    return {"description": description, "contentMediaType": content_type}


def explanation() -> Json:
    png = {"image/png": {"schema": {"description": "the photograph, tinted by the evidence", "contentMediaType": "image/png"}}}
    return answer("A heat map of the evidence for one class (Seg-Grad-CAM).", png)


def v1_answer(key: str, fallback: Json) -> Json:
    """Return KServe v1's response; `key` is `predictions` or `explanations`."""
    schema = object_of(**{key: {"type": "array", "minItems": 1}})
    return _kserve("One answer per instance: JSON, or `{b64, content_type}`.", schema, fallback)


def v2_answer(fallback: Json) -> Json:
    """Return KServe v2's response, in JSON or with binary tensors."""
    response = _kserve("One output per input.", _ref("InferenceAnswer"), fallback)
    headers = {LENGTH_HEADER: {"description": "length in bytes of the JSON before the binary tensors", "schema": _COUNT}}
    content = {**response["content"], "application/octet-stream": {"schema": {}}}
    return {**response, "headers": {**response["headers"], **headers}, "content": content}


def _kserve(description: str, schema: Json, fallback: Json) -> Json:
    """Return KServe's response, or `fallback` for bodies in other formats, which KServe's paths accept too."""
    fallback_content = fallback["content"]
    json_schemas = [schema, *([fallback_content[_JSON_TYPE]["schema"]] if _JSON_TYPE in fallback_content else [])]
    content = {**fallback_content, _JSON_TYPE: {"schema": {"anyOf": json_schemas}}}
    return answer(f"{description} A file, a form or other JSON is answered as at `/predictions`.", content)


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
