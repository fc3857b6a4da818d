"""The description of a model, alone and in a batch with other requests."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ts.context import Context

from handler.answers import FORMATS
from handler.digest import content_digest
from handler.servers.torchserve import SegmentationService
from model import ResizePolicy
from tests.support import CHECKPOINT, CLASSES, encode, metadata, noise, write_checkpoint
from tests.unit.handler.servers.test_torchserve import ask, context_for

#: TorchServe's row for `GET /models/NAME?customized=true`.
ROW: tuple[dict[str, Any], dict[str, str]] = ({}, {"describe": "True"})


@pytest.fixture(scope="module")
def folder(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("description") / "archive"
    shutil.copytree(converted, folder)
    write_checkpoint(folder / CHECKPOINT, resize=ResizePolicy(side="short", size=48, multiple=16))
    return folder


@pytest.fixture(scope="module")
def context(folder: Path) -> Context:
    settings = {
        "engine": "openvino",
        "precision": "float32",
        "inference": {"scales": [0.5, 1], "max_tiles": 3},
        "answer": {"classes": ["dog"]},
        "limits": {"max_pixels": 999},
    }
    return context_for(folder, settings)


@pytest.fixture(scope="module")
def service(context: Context) -> SegmentationService:
    service = SegmentationService()
    service.initialize(context)
    return service


@pytest.fixture(scope="module")
def description(service: SegmentationService, context: Context) -> dict[str, Any]:
    (body,) = ask(service, context, ROW)
    assert context.get_response_content_type(0) == "application/json"
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_the_description_names_model_version_and_engine(description: dict[str, Any]) -> None:
    assert {name: description[name] for name in ("model", "version", "engine", "precision", "explanations")} == {
        "model": "pets",
        "version": "2.5",
        "engine": "openvino",
        "precision": "float32",
        "explanations": True,
    }


def test_the_description_contains_the_checkpoints_metadata(description: dict[str, Any]) -> None:
    expected = metadata()

    assert description["classes"] == list(CLASSES)
    assert description["palette"] == ["#000000", "#800000", "#008000"]
    assert description["background"] == 0
    assert description["network"]["backbone"] == "mobilenet_v2"
    assert description["resize"] == ResizePolicy(side="short", size=48, multiple=16).model_dump(mode="json")
    assert description["normalization"] == expected.normalization.model_dump(mode="json")
    assert (description["metrics"], description["provenance"], description["license"]) == ([], "random weights", "Apache-2.0")


def test_options_have_this_servers_defaults_and_limits(description: dict[str, Any]) -> None:
    options = description["options"]

    assert options["scales"]["default"] == [0.5, 1]
    assert options["tiles"]["maximum"] == 3
    assert options["classes"]["default"] == [2]
    assert options["format"]["enum"] == list(FORMATS)
    assert all(option["description"] for option in options.values())
    assert description["limits"]["max_pixels"] == 999


def test_the_digest_is_computed_from_the_archive(description: dict[str, Any], folder: Path) -> None:
    assert description["archive"] == {"sha256": content_digest(folder)}


@pytest.mark.slow
def test_the_description_is_the_same_in_a_batch_and_affects_no_other_request(
    service: SegmentationService, context: Context, description: dict[str, Any]
) -> None:
    photo: tuple[dict[str, Any], dict[str, str]] = ({"body": encode(noise(20, 30))}, {"explain": "False"})
    explanation: tuple[dict[str, Any], dict[str, str]] = ({"body": encode(noise(20, 30))}, {"explain": "True"})

    first, description_body, heat, error_body = ask(
        service, context, photo, ROW, explanation, ({"body": b"?"}, {"explain": "False"})
    )

    assert json.loads(description_body) == description
    assert first == ask(service, context, photo)[0]
    assert heat[:4] == b"\x89PNG"
    assert json.loads(error_body)["code"] == 400


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        # TorchServe adds its own `explain` to requests to /predictions.
        ({}, {"describe": "True", "explain": "False"}),
        ({"body": b""}, {"describe": "True"}),
        ({}, {"Describe": "True"}),
        ({}, {"describe": "yes"}),
    ],
)
def test_a_client_cannot_request_the_description_instead_of_a_segmentation(
    service: SegmentationService, context: Context, fields: dict[str, Any], headers: dict[str, str]
) -> None:
    (body,) = ask(service, context, (fields, headers))

    assert json.loads(body)["type"] == "InvalidRequest"
