"""Custom resources, checked against types generated from the operators' schemas."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.test_kubernetes import CUSTOM, OVERLAYS, by_kind, predictor, render_overlay

#: Filled by `make test`; in the main environment the packages would add a plugin to every run of pytest.
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
HAS_PACKAGES = any((PYTHON.parents[1] / "lib").glob("python3*/site-packages/cloudcoil/models/keda"))
CHECK = Path(__file__).with_name("custom_resources.py")

# Importing the generated types takes eight seconds of processor time.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.exhaustive,
    pytest.mark.skipif(not HAS_PACKAGES, reason="cloudcoil's models are not installed; `make test` does"),
]


@pytest.fixture(scope="module")
def problems_by_object(objects: list[dict[str, Any]]) -> list[str]:
    """Return the problems of each object, then of each broken copy."""
    return ["; ".join(problems) for problems in check_all([*objects, *map(broken, objects)])]


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    rendered = [
        document for overlay in OVERLAYS for kind, document in by_kind(render_overlay(overlay)).items() if kind in CUSTOM
    ]
    return [*rendered, predictor()]


def check_all(documents: list[dict[str, Any]]) -> list[list[str]]:
    result = subprocess.run([PYTHON, CHECK], input=json.dumps(documents), check=True, capture_output=True, text=True)
    problems: list[list[str]] = json.loads(result.stdout)
    return problems


def broken(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with a misspelt, deeply nested field."""
    copied = copy.deepcopy(document)
    spec = copied["spec"]
    items = spec["predictor"]["containers"] if "predictor" in spec else spec.get("triggers") or spec["endpoints"]
    items[0]["misspelt"] = {}
    return copied


def test_every_custom_resource_matches_its_schema(objects: list[dict[str, Any]], problems_by_object: list[str]) -> None:
    assert {document["kind"] for document in objects} == {*CUSTOM, "InferenceService"}
    assert problems_by_object[: len(objects)] == [""] * len(objects)


def test_an_unknown_field_is_reported(objects: list[dict[str, Any]], problems_by_object: list[str]) -> None:
    assert all("misspelt" in problems for problems in problems_by_object[len(objects) :])
