"""The operations of each path, by route as declared in `routes.py`; a test keeps the two in step."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest, SegmentationError
from handler.servers.asgi.access import OPERATE
from handler.servers.asgi.doors import scopes_of
from handler.servers.asgi.errors import MetricsUnavailable, ModelNotReady, PathNotFound
from handler.servers.asgi.messages import Interface
from handler.servers.asgi.openapi import refusals as errors
from handler.servers.asgi.openapi.answers import (
    answer,
    explanation,
    json_answer,
    object_of,
    segmentations,
    v1_answer,
    v2_answer,
)
from handler.servers.asgi.openapi.bodies import LENGTH_HEADER

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
_METADATA = object_of(name=_TEXT, versions={"type": "array", "items": _TEXT}, platform=_TEXT, inputs=_OBJECTS, outputs=_OBJECTS)
_STATE = object_of(name=_TEXT, ready=_FLAG)
_TARGET_MODEL: Json = {
    "name": "X-Amzn-SageMaker-Target-Model",
    "in": "header",
    "description": "The model to use; required if the server has several.",
    "schema": _TEXT,
}
_LENGTH: Json = {
    "name": LENGTH_HEADER,
    "in": "header",
    "description": "The length in bytes of the JSON, which the binary tensors follow.",
    "schema": {"type": "integer", "minimum": 0},
}
_CUSTOMIZED: Json = {"name": "customized", "in": "query", "description": "Adds the model's own description.", "schema": _FLAG}
_METRIC_NAMES: Json = {
    "name": "name[]",
    "in": "query",
    "description": "Return only this metric; repeatable.",
    "schema": {"type": "array", "items": _TEXT},
}


@dataclass(frozen=True)
class DescribedModel:
    """A model that has been loaded."""

    name: str
    version: str
    interface: Interface


@dataclass(frozen=True)
class Operation:
    """The operation of a path's GET, or of its POST and PUT."""

    tag: str
    summary: str
    #: The response with status 200.
    answer: Json
    refuses: Collection[type[SegmentationError]] = ()
    #: Responses by status that are not errors, such as a probe's 503.
    others: Mapping[str, Json] | None = None
    parameters: tuple[Json, ...] = ()
    #: The component of the request body; None for GET.
    body: str | None = None

    def path_item(self, path: str, route: str, needs_tokens: bool) -> Json:
        """Return the operations of `path`, each with its own id."""
        refused = errors.refusals({*errors.ANYWHERE, *self.refuses, *_guards(route, needs_tokens)})
        responses = {"200": self.answer, **refused}
        for status, other in (self.others or {}).items():
            responses[status] = _either(other, responses.get(status))
        shared: Json = {
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": list(self.parameters),
            "responses": responses,
        }
        if needs_tokens and not scopes_of(route):
            shared["security"] = []
        if self.body is not None:
            shared["requestBody"] = {"$ref": f"#/components/requestBodies/{self.body}"}
            return {method: {"operationId": _id(method, path), **shared} for method in ("post", "put")}
        bare = {status: {name: value for name, value in one.items() if name != "content"} for status, one in responses.items()}
        head = {**shared, "responses": bare}
        return {"get": {"operationId": _id("get", path), **shared}, "head": {"operationId": _id("head", path), **head}}


def _guards(route: str, needs_tokens: bool) -> Collection[type[SegmentationError]]:
    scopes = scopes_of(route)
    return {*(errors.TOKEN_NEEDED if needs_tokens and scopes else ()), *(errors.OTHER_HOST if OPERATE in scopes else ())}


def _either(one: Json, other: Json | None) -> Json:
    """Return a response whose JSON matches either of two responses."""
    if other is None:
        return one
    schemas = [response["content"]["application/json"]["schema"] for response in (one, other)]
    return {**other, "description": f"{one['description']} Or:\n{other['description']}", **_json_content({"anyOf": schemas})}


def _json_content(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def _id(method: str, path: str) -> str:
    return re.sub(r"\W+", "_", f"{method}{path}").strip("_")


def server_operations(page: Mapping[str, str], first_model: str) -> dict[str, Operation]:
    """Return the operations that concern no single model, by route.

    Args:
        page: the content types of the page's files, by path.
        first_model: the component prefix of the model that `/invocations` uses by default if it is the only one.
    """
    live = json_answer("The process answers.", object_of(live=_FLAG))
    ready = json_answer("Every model is ready.", object_of(ready=_FLAG))
    health = json_answer("Every model is ready.", object_of(status={"enum": ["Healthy", "Unhealthy"]}))
    probe = "Check whether every model is ready"
    metadata = object_of(name=_TEXT, version=_TEXT, extensions={"type": "array", "items": _TEXT})
    predict = {*errors.PREDICTION, *errors.NAMED_MODEL}
    any_type: Json = {"*/*": {"schema": {}}}
    metrics: Json = {kind: {"schema": _TEXT} for kind in ("text/plain", "application/openmetrics-text")}
    return {
        "/ping": Operation("health", probe, health, others={"503": _unready(health)}),
        "/v2/health/live": Operation("health", "Check that the process answers", live),
        "/v2/health/ready": Operation("health", "Check whether every model is ready", ready, others={"503": _unready(ready)}),
        "/v2": Operation("models", "Describe the server", json_answer("KServe's metadata.", metadata)),
        "/v1/models": Operation("models", "List the models", json_answer("Their names.", object_of(models={"type": "array"}))),
        "/models": Operation("models", "List the models", json_answer("As TorchServe lists them.", object_of(models=_OBJECTS))),
        "/openapi.json": Operation(
            "models", "Describe this server", json_answer("This document.", {"type": "object"}), {ModelNotReady}
        ),
        "/metrics": Operation(
            "health",
            "Metrics for Prometheus",
            answer("Prometheus' text format, or OpenMetrics if `Accept` requests it.", metrics),
            {MetricsUnavailable},
            parameters=(_METRIC_NAMES,),
        ),
        "/invocations": Operation(
            "predictions",
            "Segment an image (SageMaker)",
            answer("Same as `/predictions`.", any_type),
            predict,
            parameters=(_TARGET_MODEL,),
            body=f"{first_model}Call",
        ),
        **{
            path: Operation("page", "The web page", answer("A file.", {kind: {"schema": {}}}), {PathNotFound})
            for path, kind in page.items()
        },
    }


def _unready(ready: Json) -> Json:
    return {**ready, "description": "Not every model is ready."}


def model_operations(model: DescribedModel, prefix: str) -> dict[str, Operation]:
    """Return the operations of one model, by route; the names of its components begin with `prefix`."""
    version: Json = {"name": "version", "in": "path", "required": True, "schema": {"enum": [model.version]}}
    return {**_inference_operations(model, prefix, version), **_information_operations(model, version)}


def _inference_operations(model: DescribedModel, prefix: str, version: Json) -> dict[str, Operation]:
    """Return the operations that run the network."""
    predict = {*errors.PREDICTION, *errors.NAMED_MODEL}
    explain = {*predict, *errors.EXPLANATION}
    options = tuple(
        {"$ref": f"#/components/parameters/{prefix}{place}.{name}"}
        for place in ("query", "header")
        for name in model.interface.options
    )
    form: Json = {"name": "format", "in": "path", "required": True, "schema": {"enum": list(model.interface.formats)}}
    png: Json = {**form, "schema": {"enum": ["png"]}}
    segmented, explained = segmentations(model.interface), explanation()
    v1, v1_evidence = v1_answer("predictions", segmented), v1_answer("explanations", explained)
    v2 = v2_answer(segmented)

    def post(body: str, summary: str, response: Json, refuses: Collection[Any], *path: Json) -> Operation:
        return Operation(
            "predictions", f"{summary} with {model.name}", response, refuses, None, (*path, *options), f"{prefix}{body}"
        )

    segment, evidence = "Segment an image", "Explain a class in an image"
    return {
        "/predictions/{model}": post("Call", segment, segmented, predict),
        "/predictions/{model}/{version}": post("Call", segment, segmented, predict, version),
        "/predictions/{model}/{version}/{format:path}": post("Call", segment, segmented, predict, version, form),
        "/explanations/{model}": post("Call", evidence, explained, explain),
        "/explanations/{model}/{version}": post("Call", evidence, explained, explain, version),
        "/explanations/{model}/{version}/{format:path}": post("Call", evidence, explained, explain, version, png),
        "/v1/models/{model}:predict": post("V1", "Segment images (KServe v1)", v1, predict),
        "/v1/models/{model}:explain": post("V1", "Explain classes (KServe v1)", v1_evidence, explain),
        **_by_version("/infer", lambda *path: post("V2", "Segment images (KServe v2)", v2, predict, *path, _LENGTH), version),
    }


def _information_operations(model: DescribedModel, version: Json) -> dict[str, Operation]:
    """Return the operations that describe the model and report whether it is ready."""

    def get(summary: str, response: Json, refuses: Collection[Any] = (), *more: Json, **others: Any) -> Operation:
        return Operation(
            "models", f"{summary} {model.name}", response, {*errors.NAMED_MODEL, *refuses}, parameters=more, **others
        )

    state = json_answer("The model is ready.", _STATE)
    states: dict[str, Any] = {"others": {"503": {**state, "description": "The model is not ready."}}}
    described = json_answer("As TorchServe describes it.", {**_OBJECTS, "minItems": 1, "maxItems": 1})
    meta = json_answer("KServe's metadata.", _METADATA)
    return {
        "/v1/models/{model}": get("Check the readiness of", state, **states),
        "/models/{model}": get("Describe", described, {InvalidRequest, *errors.ASKED_MODEL}, _CUSTOMIZED),
        "/models/{model}/{version}": get("Describe", described, {InvalidRequest, *errors.ASKED_MODEL}, version, _CUSTOMIZED),
        **_by_version("", lambda *path: get("Describe the tensors of", meta, {ModelNotReady}, *path), version),
        **_by_version("/ready", lambda *path: get("Check the readiness of", state, (), *path, **states), version),
    }


def _by_version(end: str, make: Callable[..., Operation], version: Json) -> dict[str, Operation]:
    base = "/v2/models/{model}"
    return {f"{base}{end}": make(), f"{base}/versions/{{version}}{end}": make(version)}
