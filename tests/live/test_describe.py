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
def described(server: Server) -> dict[str, Any]:
    return ask(server)


def test_classes_resize_and_metrics_come_from_the_checkpoint(described: dict[str, Any], served_checkpoint: Path) -> None:
    metadata = read_metadata(served_checkpoint)

    assert described["classes"] == list(metadata.classes)
    assert described["palette"][8] == "#400000"
    assert described["background"] == 0
    assert described["resize"] == metadata.resize.model_dump(mode="json")
    assert described["metrics"] == [evaluation.model_dump(mode="json") for evaluation in metadata.evaluations]
    assert described["license"] == metadata.license


def test_the_description_names_model_engine_and_precision(described: dict[str, Any]) -> None:
    assert {name: described[name] for name in ("model", "version", "engine", "precision", "explanations")} == {
        "model": "deeplabv3",
        "version": "1.0",
        "engine": "openvino",
        "precision": native_precision(),
        "explanations": True,
    }


def test_the_description_has_each_engines_agreement_with_torch_in_float32(described: dict[str, Any]) -> None:
    agreement = described["agreement"]

    assert [entry["engine"] for entry in agreement["engines"]] == ["openvino"] * len(agreement["engines"])
    assert agreement["engines"][-1]["precision"] == described["precision"]
    for entry in agreement["engines"]:
        assert entry["equal_labels"] >= {"float32": 0.9999, "bfloat16": 0.995}[entry["precision"]]
        assert entry["images"] == 7


def test_the_description_lists_all_options_formats_and_limits(described: dict[str, Any]) -> None:
    shipped = yaml.safe_load(DEFAULT_MODEL_CONFIG.read_text())["handler"]

    assert set(described["options"]) == {*InferenceOptions.model_fields, *AnswerOptions.model_fields}
    assert described["options"]["tiles"]["maximum"] == shipped["inference"]["max_tiles"]
    assert list(described["formats"]) == list(FORMATS)
    assert described["limits"] == shipped["limits"]


def test_the_digest_covers_the_archives_files(served_archive: Path, described: dict[str, Any], tmp_path: Path) -> None:
    with zipfile.ZipFile(served_archive) as archive:
        archive.extractall(tmp_path)

    assert described["archive"] == {"sha256": content_digest(tmp_path)}


def test_a_version_has_the_description_of_its_model(server: Server, described: dict[str, Any]) -> None:
    assert ask(server, "/1.0") == described


def test_request_headers_do_not_change_the_description(server: Server, described: dict[str, Any]) -> None:
    assert ask(server, headers={"X-Segment-Format": "svg", "Explain": "True"}) == described


def ask(server: Server, path: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = requests.get(
        server.management_url + path, params={"customized": "true"}, headers=headers, timeout=TIMEOUT_S
    ).json()
    described: dict[str, Any] = answer[0]["customizedMetadata"]
    return described
