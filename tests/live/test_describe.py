"""The description of a served model, from the management API."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from handler.answers import FORMATS
from handler.digest import content_digest
from handler.network.engines.openvino_engine import native_precision
from handler.options import AnswerOptions, InferenceOptions
from model import read_metadata
from scripts.package import DEFAULT_MODEL_CONFIG
from scripts.server import Server
from tests.live.client import TIMEOUT_S


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    return fetch_description(server)


def test_classes_resize_and_metrics_come_from_the_checkpoint(description: dict[str, Any], served_checkpoint: Path) -> None:
    metadata = read_metadata(served_checkpoint)

    assert description["classes"] == list(metadata.classes)
    assert description["palette"][8] == "#400000"
    assert description["background"] == 0
    assert description["resize"] == metadata.resize.model_dump(mode="json")
    assert description["metrics"] == [evaluation.model_dump(mode="json") for evaluation in metadata.evaluations]
    assert description["license"] == metadata.license


def test_the_description_names_model_engine_and_precision(description: dict[str, Any]) -> None:
    assert {name: description[name] for name in ("model", "version", "engine", "precision", "explanations")} == {
        "model": "deeplabv3",
        "version": "1.0",
        "engine": "openvino",
        "precision": native_precision(),
        "explanations": True,
    }


def test_the_description_has_each_engines_agreement_with_torch_in_float32(description: dict[str, Any]) -> None:
    agreement = description["agreement"]

    assert [entry["engine"] for entry in agreement["engines"]] == ["openvino"] * len(agreement["engines"])
    assert agreement["engines"][-1]["precision"] == description["precision"]
    for entry in agreement["engines"]:
        assert entry["equal_labels"] >= {"float32": 0.9999, "bfloat16": 0.995}[entry["precision"]]
        assert entry["images"] == 7


def test_the_description_lists_all_options_formats_and_limits(description: dict[str, Any]) -> None:
    shipped = yaml.safe_load(DEFAULT_MODEL_CONFIG.read_text())["handler"]

    assert set(description["options"]) == {*InferenceOptions.model_fields, *AnswerOptions.model_fields}
    assert description["options"]["tiles"]["maximum"] == shipped["inference"]["max_tiles"]
    assert list(description["formats"]) == list(FORMATS)
    assert description["limits"] == shipped["limits"]


def test_the_digest_covers_the_archives_files(served_archive: Path, description: dict[str, Any], tmp_path: Path) -> None:
    with zipfile.ZipFile(served_archive) as archive:
        archive.extractall(tmp_path)

    assert description["archive"] == {"sha256": content_digest(tmp_path)}


def test_a_version_has_the_description_of_its_model(server: Server, description: dict[str, Any]) -> None:
    assert fetch_description(server, "/1.0") == description


def test_request_headers_do_not_change_the_description(server: Server, description: dict[str, Any]) -> None:
    assert fetch_description(server, headers={"X-Segment-Format": "svg", "Explain": "True"}) == description


def fetch_description(server: Server, path: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = requests.get(
        server.management_url + path, params={"customized": "true"}, headers=headers, timeout=TIMEOUT_S
    ).json()
    description: dict[str, Any] = answer[0]["customizedMetadata"]
    return description
