"""The operations of each path, by route as declared in `routes.py`; a test keeps the two in step."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidRequest, SegmentationError
from handler.servers.asgi.access import OPERATE
from handler.servers.asgi.errors import MetricsUnavailable, ModelNotReady, PathNotFound
from handler.servers.asgi.guard import accepted_scopes
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
    other_responses: Mapping[str, Json] | None = None
    parameters: tuple[Json, ...] = ()
    #: The component of the request body; None for GET.
    body: str | None = None

    def path_item(self, path: str, route: str, needs_tokens: bool) -> Json:
        """Return the operations of `path`, each with its own id."""
        error_responses = errors.refusals({*errors.COMMON_ERRORS, *self.refuses, *_guard_errors(route, needs_tokens)})
        responses = {"200": self.answer, **error_responses}
        for status, response in (self.other_responses or {}).items():
            responses[status] = _merge_responses(response, responses.get(status))
        operation: Json = {
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": list(self.parameters),
            "responses": responses,
        }
        if needs_tokens and not accepted_scopes(route):
            operation["security"] = []
        if self.body is not None:
            operation["requestBody"] = {"$ref": f"#/components/requestBodies/{self.body}"}
            return {method: {"operationId": _operation_id(method, path), **operation} for method in ("post", "put")}
        bodiless = {
            status: {name: value for name, value in response.items() if name != "content"}
            for status, response in responses.items()
        }
        head = {**operation, "responses": bodiless}
        return {
            "get": {"operationId": _operation_id("get", path), **operation},
            "head": {"operationId": _operation_id("head", path), **head},
        }


def _guard_errors(route: str, needs_tokens: bool) -> Collection[type[SegmentationError]]:
    scopes = accepted_scopes(route)
    return {*(errors.TOKEN_ERRORS if needs_tokens and scopes else ()), *(errors.HOST_ERRORS if OPERATE in scopes else ())}


def _merge_responses(first: Json, second: Json | None) -> Json:
    """Return a response whose JSON matches either of two responses."""
    if second is None:
        return first
    schemas = [response["content"]["application/json"]["schema"] for response in (first, second)]
    description = f"{first['description']} Or:\n{second['description']}"
    return {**second, "description": description, **_json_content({"anyOf": schemas})}


def _json_content(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


def _operation_id(method: str, path: str) -> str:
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
    predict = {*errors.PREDICTION_ERRORS, *errors.MODEL_ERRORS}
    any_type: Json = {"*/*": {"schema": {}}}
    metrics: Json = {kind: {"schema": _TEXT} for kind in ("text/plain", "application/openmetrics-text")}
    return {
        "/ping": Operation("health", probe, health, other_responses={"503": _not_ready(health)}),
        "/v2/health/live": Operation("health", "Check that the process answers", live),
        "/v2/health/ready": Operation("health", probe, ready, other_responses={"503": _not_ready(ready)}),
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


def _not_ready(ready: Json) -> Json:
    return {**ready, "description": "Not every model is ready."}


def model_operations(model: DescribedModel, prefix: str) -> dict[str, Operation]:
    """Return the operations of one model, by route; the names of its components begin with `prefix`."""
    version: Json = {"name": "version", "in": "path", "required": True, "schema": {"enum": [model.version]}}
    return {**_inference_operations(model, prefix, version), **_information_operations(model, version)}


def _inference_operations(model: DescribedModel, prefix: str, version: Json) -> dict[str, Operation]:
    """Return the operations that run the network."""
    predict = {*errors.PREDICTION_ERRORS, *errors.MODEL_ERRORS}
    explain = {*predict, *errors.EXPLANATION_ERRORS}
    options = tuple(
        {"$ref": f"#/components/parameters/{prefix}{location}.{name}"}
        for location in ("query", "header")
        for name in model.interface.options
    )
    formats = list(model.interface.formats)
    format_parameter: Json = {"name": "format", "in": "path", "required": True, "schema": {"enum": formats}}
    png_parameter: Json = {**format_parameter, "schema": {"enum": ["png"]}}
    segmentation, heat_map = segmentations(model.interface), explanation()
    v1, v1_evidence = v1_answer("predictions", segmentation), v1_answer("explanations", heat_map)
    v2 = v2_answer(segmentation)

    def post(body: str, summary: str, response: Json, refuses: Collection[Any], *path: Json) -> Operation:
        return Operation(
            "predictions", f"{summary} with {model.name}", response, refuses, None, (*path, *options), f"{prefix}{body}"
        )

    segment, evidence = "Segment an image", "Explain a class in an image"
    return {
        "/predictions/{model}": post("Call", segment, segmentation, predict),
        "/predictions/{model}/{version}": post("Call", segment, segmentation, predict, version),
        "/predictions/{model}/{version}/{format:path}": post("Call", segment, segmentation, predict, version, format_parameter),
        "/explanations/{model}": post("Call", evidence, heat_map, explain),
        "/explanations/{model}/{version}": post("Call", evidence, heat_map, explain, version),
        "/explanations/{model}/{version}/{format:path}": post("Call", evidence, heat_map, explain, version, png_parameter),
        "/v1/models/{model}:predict": post("V1", "Segment images (KServe v1)", v1, predict),
        "/v1/models/{model}:explain": post("V1", "Explain classes (KServe v1)", v1_evidence, explain),
        **_by_version("/infer", lambda *path: post("V2", "Segment images (KServe v2)", v2, predict, *path, _LENGTH), version),
    }


def _information_operations(model: DescribedModel, version: Json) -> dict[str, Operation]:
    """Return the operations that describe the model and report whether it is ready."""

    def get(summary: str, response: Json, refuses: Collection[Any] = (), *parameters: Json, **fields: Any) -> Operation:
        return Operation(
            "models", f"{summary} {model.name}", response, {*errors.MODEL_ERRORS, *refuses}, parameters=parameters, **fields
        )

    state = json_answer("The model is ready.", _STATE)
    states: dict[str, Any] = {"other_responses": {"503": {**state, "description": "The model is not ready."}}}
    description = json_answer("As TorchServe describes it.", {**_OBJECTS, "minItems": 1, "maxItems": 1})
    metadata = json_answer("KServe's metadata.", _METADATA)
    worker_errors = {InvalidRequest, *errors.WORKER_ERRORS}
    return {
        "/v1/models/{model}": get("Check the readiness of", state, **states),
        "/models/{model}": get("Describe", description, worker_errors, _CUSTOMIZED),
        "/models/{model}/{version}": get("Describe", description, worker_errors, version, _CUSTOMIZED),
        **_by_version("", lambda *path: get("Describe the tensors of", metadata, {ModelNotReady}, *path), version),
        **_by_version("/ready", lambda *path: get("Check the readiness of", state, (), *path, **states), version),
    }


def _by_version(suffix: str, make_operation: Callable[..., Operation], version: Json) -> dict[str, Operation]:
    base = "/v2/models/{model}"
    return {f"{base}{suffix}": make_operation(), f"{base}/versions/{{version}}{suffix}": make_operation(version)}
