"""The OpenAPI document matches the server: every path, every error, every option."""

import base64
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from handler.answers import FORMATS
from handler.errors import SegmentationError, TooLarge
from handler.labels import Labels
from handler.request.option_table import option_table
from handler.servers.asgi.messages import Interface
from handler.servers.asgi.openapi.bodies import SAMPLE, text_schema
from handler.servers.asgi.openapi.document import document_path, openapi_document
from handler.servers.asgi.openapi.operations import DescribedModel
from handler.servers.asgi.page import page_paths
from handler.servers.asgi.routes import Front
from handler.settings import HandlerSettings
from model import read_metadata
from scripts.package import DEFAULT_CHECKPOINT

OPTIONS = option_table(HandlerSettings(), Labels.from_metadata(read_metadata(DEFAULT_CHECKPOINT)))
INTERFACE = Interface(
    {name: option.json_schema() for name, option in OPTIONS.items()},
    {name: (entry.content_type, entry.summary) for name, entry in FORMATS.items()},
    max_instances=16,
)


def document(*names: str, needs_tokens: bool = False) -> Any:
    """Return the document as a client reads it."""
    models = [DescribedModel(name, "1.0", INTERFACE) for name in names or ["pets"]]
    return json.loads(json.dumps(openapi_document(models, page_paths(), needs_tokens=needs_tokens)))


@pytest.fixture(scope="module")
def openapi() -> Any:
    return document()


def operations(openapi: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def routes() -> dict[str, set[str]]:
    """Return the methods of each route of the server."""
    guard = SimpleNamespace(access=SimpleNamespace(needs_tokens=False))
    values: dict[str, Any] = {
        "models": {},
        "body_timeout": 1,
        "body_budget": None,
        "guard": guard,
        "telemetry": None,
        "rollout": None,
    }
    settings: Any = SimpleNamespace(**values)
    return {route.path: set(route.app._methods) for route in Front(settings)._routes()}  # type: ignore[attr-defined]


def test_the_document_has_every_path_of_the_server_with_its_methods(openapi: Any) -> None:
    expected = {document_path(route, "pets"): {name.lower() for name in methods} for route, methods in routes().items()}

    assert {path: set(item) for path, item in openapi["paths"].items()} == expected


def test_the_document_has_every_error() -> None:
    def descendants(error: type[SegmentationError]) -> set[type[SegmentationError]]:
        return {error}.union(*(descendants(child) for child in error.__subclasses__()))

    documented_errors = {
        (int(response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]["const"]), name)
        for response in document(needs_tokens=True)["components"]["responses"].values()
        if "allOf" in response.get("content", {}).get("application/json", {}).get("schema", {})
        for name in response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["type"]["enum"]
    }
    handler_errors = {error for error in descendants(SegmentationError) if error.__module__.startswith("handler.")}
    abstract = {SegmentationError, TooLarge}
    # The document lists no methods that are not allowed.
    expected = {(error.status, error.__name__) for error in handler_errors - abstract} - {(405, "MethodNotAllowed")}
    assert documented_errors == expected


def test_references_resolve_and_operation_ids_are_unique() -> None:
    references = {part.split('"')[0] for part in json.dumps(document("pets", "a b{ü")).split('"$ref": "')[1:]}
    both = document("pets", "a b{ü")
    missing = []
    for reference in references:
        target: Any = both
        for key in reference.removeprefix("#/").split("/"):
            target = target.get(key, {})
        if not target:
            missing.append(reference)
    assert missing == []
    operation_ids = [operation["operationId"] for _, _, operation in operations(both)]
    assert len(set(operation_ids)) == len(operation_ids)


def test_each_of_several_models_has_its_own_paths() -> None:
    paths = document("pets", "a b{ü")["paths"]

    assert "/predictions/pets" in paths
    assert "/v1/models/a%20b%7B%C3%BC:predict" in paths


def test_the_same_models_give_the_same_bytes() -> None:
    assert json.dumps(document("b", "a")) == json.dumps(document("b", "a"))


def test_operations_that_need_tokens_declare_it() -> None:
    openapi = document(needs_tokens=True)

    assert openapi["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    public_paths = {path for path, _, operation in operations(openapi) if operation.get("security") == []}
    assert public_paths == {"/ping", "/v2/health/live", "/v2/health/ready", *page_paths()}
    assert {"401", "403"} <= openapi["paths"]["/predictions/pets"]["post"]["responses"].keys()
    assert "401" not in document()["paths"]["/predictions/pets"]["post"]["responses"]


def test_options_equal_those_of_the_model(openapi: Any) -> None:
    schemas = {name: openapi["components"]["schemas"][f"Option.{name}"] for name in OPTIONS}

    assert schemas == json.loads(json.dumps({name: option.json_schema() for name, option in OPTIONS.items()}))
    parameters = openapi["components"]["parameters"]
    assert parameters["header.min_score"]["name"] == "X-Segment-Min-Score"
    for name, option in OPTIONS.items():
        schema = parameters[f"query.{name}"]["schema"]
        assert "default" not in schema or Draft202012Validator(schema).is_valid(schema["default"])
        assert schema == text_schema(option.json_schema())


@pytest.mark.parametrize(
    ("name", "body", "is_valid"),
    [
        ("Call", {"data": SAMPLE, "options": {"alpha": 0.5}, "classes": ["cat"]}, True),
        ("Call", {"data": SAMPLE, "alpha": 2}, False),
        ("Call", {"options": {}}, False),
        ("HuggingFaceCall", {"inputs": SAMPLE, "parameters": {"threshold": 0.5}}, True),
        ("V1Call", {"instances": [SAMPLE, {"b64": SAMPLE}, {"data": SAMPLE, "masks": "none"}]}, True),
        ("V1Call", {"instances": []}, False),
        ("V2Call", {"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": [SAMPLE]}]}, True),
        ("V2Call", {"inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": [SAMPLE]}], "format": "png"}, False),
    ],
)
def test_body_schemas_accept_only_valid_calls(openapi: Any, name: str, body: object, is_valid: bool) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": openapi["components"]}

    assert Draft202012Validator(schema).is_valid(body) == is_valid


def test_the_sample_is_an_image() -> None:
    assert base64.b64decode(SAMPLE).startswith(b"\x89PNG")
