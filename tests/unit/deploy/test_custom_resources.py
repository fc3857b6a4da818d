"""Operators' objects, checked against types generated from the operators' schemas."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.test_kubernetes import CUSTOM, OVERLAYS, by_kind, kustomized, predictor

#: Filled by `make test`; in the main environment the packages would add a plugin to every run of pytest.
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
HAS_PACKAGES = any((PYTHON.parents[1] / "lib").glob("python3*/site-packages/cloudcoil/models/keda"))
CHECK = Path(__file__).with_name("custom_resources.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_PACKAGES, reason="cloudcoil's models are not installed; `make test` does"),
]


@pytest.fixture(scope="module")
def wrong(objects: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the objects, then with broken copies of them."""
    return ["; ".join(problems) for problems in check_all([*objects, *map(broken, objects)])]


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    rendered = [document for overlay in OVERLAYS for kind, document in by_kind(kustomized(overlay)).items() if kind in CUSTOM]
    return [*rendered, predictor()]


def check_all(documents: list[dict[str, Any]]) -> list[list[str]]:
    done = subprocess.run([PYTHON, CHECK], input=json.dumps(documents), check=True, capture_output=True, text=True)
    problems: list[list[str]] = json.loads(done.stdout)
    return problems


def broken(document: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with a misspelt, deeply nested field."""
    copied = copy.deepcopy(document)
    spec = copied["spec"]
    deep = spec["predictor"]["containers"] if "predictor" in spec else spec.get("triggers") or spec["endpoints"]
    deep[0]["misspelt"] = {}
    return copied


def test_every_custom_resource_keeps_its_schema(objects: list[dict[str, Any]], wrong: list[str]) -> None:
    assert {document["kind"] for document in objects} == {*CUSTOM, "InferenceService"}
    assert wrong[: len(objects)] == [""] * len(objects)


def test_a_field_that_an_operator_does_not_know_is_found(objects: list[dict[str, Any]], wrong: list[str]) -> None:
    assert all("misspelt" in problems for problems in wrong[len(objects) :])
