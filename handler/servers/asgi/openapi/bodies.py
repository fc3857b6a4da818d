"""Requests to a model: options as parameters, and bodies."""

from collections.abc import Mapping
from typing import Any

from handler.servers.asgi.messages import Interface

Json = dict[str, Any]

#: A PNG of 16 × 16 pixels, as an example for people who try out the document.
SAMPLE = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAHElEQVR42mNkwAFOVGhgFWdiIBGMahjVMHQ0AABe3AGIO0lhtgAAAABJRU5ErkJggg=="
#: The header of KServe v2 requests and responses with the length of their JSON part.
LENGTH_HEADER = "Inference-Header-Content-Length"
_IMAGE_FIELDS = ("data", "image", "body")
_BINARY: Json = {"contentMediaType": "application/octet-stream"}

IMAGE: Json = {
    "description": "An image file as base64, or as a `data:` URI of base64.",
    "anyOf": [
        {"type": "string", "contentEncoding": "base64", "minLength": 1},
        {"type": "object", "properties": {"b64": {"type": "string"}}, "required": ["b64"], "additionalProperties": False},
    ],
    "examples": [SAMPLE],
}
_PROTOCOL_PARAMETERS: Json = {
    "binary_data_output": {"type": "boolean"},
    "binary_data": {"type": "boolean"},
    "binary_data_size": {"type": "integer", "minimum": 0},
    "priority": {},
    "timeout": {},
}


def option_parameters(interface: Interface) -> dict[str, Json]:
    """Return every option as a query parameter and as a header, by component name."""
    parameters: dict[str, Json] = {}
    for name, schema in interface.options.items():
        about = {"description": schema["description"], "schema": text_schema(schema)}
        header = f"X-Segment-{name.replace('_', '-').title()}"
        parameters[f"query.{name}"] = {"name": name, "in": "query", **about}
        parameters[f"header.{name}"] = {"name": header, "in": "header", **about}
    return parameters


def text_schema(schema: Mapping[str, Any]) -> Json:
    """Return the schema of an option where values are text: in forms, headers and query strings."""
    kinds = schema.get("type", [])
    if "enum" in schema:
        values = [value for value in schema["enum"] if isinstance(value, str)]
        return {"type": "string", "enum": values, "default": str(schema["default"]).lower()}
    if "array" not in kinds and isinstance(kinds, list):
        return {"type": kinds[0], **{key: schema[key] for key in ("minimum", "maximum", "default")}}
    limits = {key: schema[key] for key in ("pattern", "minLength", "maxLength") if key in schema}
    return {"type": "string", **limits, **_default_text(schema["default"])}


def prediction_bodies(interface: Interface, prefix: str) -> dict[str, Json]:
    """Return the request bodies of a model: `Call` anywhere, `V1` and `V2` at KServe's paths.

    Args:
        interface: the options and formats reported by its worker.
        prefix: begins the names of its schemas in the components.
    """
    form = _form(interface)
    call = {"anyOf": [_ref(f"{prefix}Call"), _ref(f"{prefix}HuggingFaceCall")]}
    binary: Json = {"schema": {}}
    return {
        "Call": _body(
            {
                "image/*": binary,
                "application/octet-stream": binary,
                "multipart/form-data": {"schema": form},
                "application/x-www-form-urlencoded": {"schema": _with_base64(form)},
                "application/json": {"schema": call, "examples": _examples({"data": SAMPLE, "options": {"masks": "none"}})},
            }
        ),
        "V1": _body(
            {"application/json": {"schema": _ref(f"{prefix}V1Call"), "examples": _examples({"instances": [{"data": SAMPLE}]})}}
        ),
        "V2": _body(
            {
                "application/json": {"schema": _ref(f"{prefix}V2Call"), "examples": _examples({"inputs": [_SAMPLE_TENSOR]})},
                # The JSON, then the tensors' sections.
                "application/octet-stream": binary,
            }
        ),
    }


_SAMPLE_TENSOR = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [SAMPLE]}


def call_schemas(interface: Interface, prefix: str) -> dict[str, Json]:
    """Return the schemas of JSON bodies and options, by name without the model's `prefix`."""
    options: Json = {name: _ref(f"{prefix}Option.{name}") for name in interface.options}
    image_fields = {name: _ref_image() for name in _IMAGE_FIELDS}
    call = {
        "type": "object",
        "properties": {**image_fields, "options": _nullable_object(options), **options},
        "oneOf": [{"required": [name]} for name in _IMAGE_FIELDS],
    }
    hugging_face_options = {"threshold": options["min_score"], "subtask": {"enum": ["semantic", None]}}
    hugging_face = {
        "inputs": {"type": "string", "examples": [SAMPLE]},
        "parameters": _nullable_object({**options, **hugging_face_options}),
    }
    instances = {"type": "array", "items": {"anyOf": [_ref_image(), call]}, "minItems": 1, "maxItems": interface.max_instances}
    return {
        **{f"Option.{name}": schema for name, schema in interface.options.items()},
        "Call": call,
        "HuggingFaceCall": {"type": "object", "properties": hugging_face, "required": ["inputs"]},
        "V1Call": {
            "type": "object",
            "properties": {"instances": instances, "signature_name": {}, **options},
            "required": ["instances"],
            "additionalProperties": False,
        },
        "V2Call": _v2_call({**options, **_PROTOCOL_PARAMETERS}),
    }


def _v2_call(parameters: Json) -> Json:
    tensor = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 4},
            "datatype": {"enum": ["BYTES", "UINT8"]},
            "data": {"type": "array", "minItems": 1},
            "parameters": {"type": "object", "properties": parameters},
        },
        "required": ["name", "shape", "datatype"],
        "additionalProperties": False,
    }
    output = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
        "required": ["name"],
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "model_name": {},
            "model_version": {},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": ["array", "null"], "items": output},
            "parameters": {"type": "object", "properties": parameters},
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }


def _form(interface: Interface) -> Json:
    options = {
        name: {**text_schema(schema), "description": schema["description"]} for name, schema in interface.options.items()
    }
    return {
        "type": "object",
        "description": "The image is in `data`, `image` or `body`, or in a field of any name if it is the only file.",
        "properties": {"data": _BINARY, **options, "options": {"type": "string", "description": "more options, as JSON"}},
        "required": ["data"],
    }


def _with_base64(form: Json) -> Json:
    return {**form, "properties": {**form["properties"], "data": {"type": "string", "contentEncoding": "base64"}}}


def _nullable_object(properties: Json) -> Json:
    return {"type": ["object", "null"], "properties": properties}


def _default_text(default: Any) -> Json:
    if default is None:
        return {}
    values = default if isinstance(default, list | tuple) else [default]
    return {"default": ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)}


def _body(content: Json) -> Json:
    return {"required": True, "content": content}


def _examples(value: object) -> Json:
    return {"sample": {"value": value}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _ref_image() -> Json:
    return _ref("Image")
