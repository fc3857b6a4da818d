"""Assemble the document deterministically from the served models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from handler.servers.asgi.openapi.answers import SEGMENTATION, TENSOR, V2_ANSWER
from handler.servers.asgi.openapi.bodies import IMAGE, call_schemas, option_parameters, prediction_bodies
from handler.servers.asgi.openapi.operations import DescribedModel, Operation, model_operations, server_operations
from handler.servers.asgi.openapi.refusals import ERROR
from handler.version import VERSION

Json = dict[str, Any]

_DESCRIPTION = """DeepLab semantic segmentation.

Options go next to the image in the body, in the query string or in headers `X-Segment-*`. The body overrides the query string,
which overrides headers, which override the path's format, which overrides `Accept`.

A body may be compressed (`Content-Encoding: gzip` or `deflate`); JSON responses are compressed for `Accept-Encoding: gzip`.

Every path allows `OPTIONS` too. Other methods get 405 with `Allow`, and other paths 404."""
_REQUEST_ID: Json = {
    "description": "Identifies the request in the server's log; an id sent by the client is kept.",
    "schema": {"type": "string"},
}


def openapi_document(models: Sequence[DescribedModel], page: Mapping[str, str], *, needs_tokens: bool) -> Json:
    """Return the document.

    Args:
        models: the loaded models, at least one.
        page: the content types of the page's files, by path.
        needs_tokens: whether calls without a bearer token are refused.
    """
    prefixes = _prefixes([model.name for model in models])
    paths = _paths(server_operations(page, prefixes[0]), "", needs_tokens)
    parameters: Json = {}
    bodies: Json = {}
    schemas: Json = {
        "Error": ERROR,
        "Image": IMAGE,
        "Segmentation": SEGMENTATION,
        "Tensor": TENSOR,
        "InferenceAnswer": V2_ANSWER,
    }
    for model, prefix in zip(models, prefixes, strict=True):
        paths |= _paths(model_operations(model, prefix), model.name, needs_tokens)
        parameters |= {f"{prefix}{name}": value for name, value in option_parameters(model.interface).items()}
        bodies |= {f"{prefix}{name}": value for name, value in prediction_bodies(model.interface, prefix).items()}
        schemas |= {f"{prefix}{name}": value for name, value in call_schemas(model.interface, prefix).items()}
    scheme = {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}} if needs_tokens else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "DeepLab Serve", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        **({"security": [{"bearer": []}]} if needs_tokens else {}),
        "paths": paths,
        "components": {
            "responses": _share_refusals(paths),
            "schemas": schemas,
            "parameters": parameters,
            "requestBodies": bodies,
            "headers": {"RequestId": _REQUEST_ID},
            **scheme,
        },
    }


def document_path(route: str, model: str) -> str:
    """Return a route as written in the document, with the model's name filled in."""
    return route.replace("{model}", quote(model, safe="")).replace("{format:path}", "{format}")


def _paths(operations: Mapping[str, Operation], model: str, needs_tokens: bool) -> Json:
    paths = {}
    for route, operation in operations.items():
        path = document_path(route, model)
        paths[path] = operation.path_item(path, route, needs_tokens)
    return paths


def _share_refusals(paths: Json) -> Json:
    """Replace error responses, which many operations share, by references, and return the referenced responses."""
    shared_responses: Json = {}
    for operation in (operation for item in paths.values() for operation in item.values()):
        for status, response in operation["responses"].items():
            if status != "200":
                matches = (name for name, shared_response in shared_responses.items() if shared_response == response)
                name = next(matches, f"Refused{status}.{len(shared_responses)}")
                shared_responses[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return shared_responses


def _prefixes(names: Sequence[str]) -> list[str]:
    """Return the prefix of each model's component names: empty for a single model, otherwise its name."""
    if len(names) == 1:
        return [""]
    safe_names = [re.sub(r"[^A-Za-z0-9_-]", "_", name) for name in names]
    return [f"{name}.{index}." if safe_names.count(name) > 1 else f"{name}." for index, name in enumerate(safe_names)]
