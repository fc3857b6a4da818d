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
def described(service: SegmentationService, context: Context) -> dict[str, Any]:
    (body,) = ask(service, context, ROW)
    assert context.get_response_content_type(0) == "application/json"
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_it_says_what_is_served(described: dict[str, Any]) -> None:
    assert {name: described[name] for name in ("model", "version", "engine", "precision", "explanations")} == {
        "model": "pets",
        "version": "2.5",
        "engine": "openvino",
        "precision": "float32",
        "explanations": True,
    }


def test_it_says_what_the_checkpoint_says(described: dict[str, Any]) -> None:
    expected = metadata()

    assert described["classes"] == list(CLASSES)
    assert described["palette"] == ["#000000", "#800000", "#008000"]
    assert described["background"] == 0
    assert described["network"]["backbone"] == "mobilenet_v2"
    assert described["resize"] == ResizePolicy(side="short", size=48, multiple=16).model_dump(mode="json")
    assert described["normalization"] == expected.normalization.model_dump(mode="json")
    assert (described["metrics"], described["provenance"], described["license"]) == ([], "random weights", "Apache-2.0")


def test_options_have_this_servers_defaults_and_limits(described: dict[str, Any]) -> None:
    options = described["options"]

    assert options["scales"]["default"] == [0.5, 1]
    assert options["tiles"]["maximum"] == 3
    assert options["classes"]["default"] == [2]
    assert options["format"]["enum"] == list(FORMATS)
    assert all(option["description"] for option in options.values())
    assert described["limits"]["max_pixels"] == 999


def test_the_digest_is_that_of_the_folder(described: dict[str, Any], folder: Path) -> None:
    assert described["archive"] == {"sha256": content_digest(folder)}


@pytest.mark.slow
def test_it_is_the_same_among_other_requests_and_touches_none(
    service: SegmentationService, context: Context, described: dict[str, Any]
) -> None:
    photo: tuple[dict[str, Any], dict[str, str]] = ({"body": encode(noise(20, 30))}, {"explain": "False"})
    explained: tuple[dict[str, Any], dict[str, str]] = ({"body": encode(noise(20, 30))}, {"explain": "True"})

    first, description, heat, bad = ask(service, context, photo, ROW, explained, ({"body": b"?"}, {"explain": "False"}))

    assert json.loads(description) == described
    assert first == ask(service, context, photo)[0]
    assert heat[:4] == b"\x89PNG"
    assert json.loads(bad)["code"] == 400


@pytest.mark.parametrize(
    ("row", "headers"),
    [
        # TorchServe adds its own `explain` to requests to /predictions.
        ({}, {"describe": "True", "explain": "False"}),
        ({"body": b""}, {"describe": "True"}),
        ({}, {"Describe": "True"}),
        ({}, {"describe": "yes"}),
    ],
)
def test_a_client_cannot_ask_for_it_in_place_of_a_segmentation(
    service: SegmentationService, context: Context, row: dict[str, Any], headers: dict[str, str]
) -> None:
    (body,) = ask(service, context, (row, headers))

    assert json.loads(body)["type"] == "InvalidRequest"
