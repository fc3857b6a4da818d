"""The bill of materials of an image: valid CycloneDX that lists what the image installs."""

import json
import tomllib
from typing import Any

import pytest

pytest.importorskip("cyclonedx", reason="the package cyclonedx-python-lib (extra deploy) is missing")

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support import ROOT
from tools import bill_of_materials
from tools.serving_requirements import LockedPackage, read_lock

pytestmark = pytest.mark.slow

SOURCE_DATE_EPOCH = "1750000000"
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("bill") / "new" / "asgi.cdx.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        assert bill_of_materials.main(["asgi", "--out", str(file)]) == 0
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def test_the_bill_matches_the_schema(bill: dict[str, Any]) -> None:
    assert VALIDATOR.validate_str(json.dumps(bill)) is None
    assert VALIDATOR.validate_str(json.dumps({**bill, "packages": []})) is not None


def test_the_bill_lists_every_installed_package_with_its_hashes(bill: dict[str, Any]) -> None:
    listed = {
        component["name"]: (component["version"], {digest["content"] for digest in component["hashes"]})
        for component in bill["components"]
    }

    image = {**read_lock("asgi"), **read_lock("torch-cpu")}
    assert listed == {name: (package.version, set(package.sha256)) for name, package in image.items()}


def test_the_bill_has_the_servers_pinned_packages_with_their_licences(bill: dict[str, Any]) -> None:
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    versions = {component["name"]: component["version"].partition("+")[0] for component in bill["components"]}

    for name in ("torch", "numpy", "pillow", "openvino", "starlette", "uvicorn", "rasterio"):
        assert f"{name}=={versions[name]}" in pinned
    assert [component["name"] for component in bill["components"] if not component.get("licenses")] == []


def test_the_bill_records_dependencies_between_packages(bill: dict[str, Any]) -> None:
    dependencies = {
        entry["ref"].partition("@")[0]: {ref.partition("@")[0] for ref in entry.get("dependsOn", ())}
        for entry in bill["dependencies"]
    }

    assert {"pkg:pypi/anyio"} <= dependencies["pkg:pypi/starlette"]
    assert dependencies["deeplab-serve-asgi"] == {component["bom-ref"].partition("@")[0] for component in bill["components"]}


def test_the_bill_is_reproducible(bill: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)

    assert json.loads(bill_of_materials.make_bill("asgi")) == bill
    assert bill["metadata"]["timestamp"] == "2025-06-15T15:06:40+00:00"


def test_an_installed_version_that_differs_from_the_lock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bill_of_materials, "read_lock", lambda _: {"numpy": LockedPackage("numpy", "1.0", ("0" * 64,))})

    with pytest.raises(bill_of_materials.BillError, match=r"numpy is \S+ here and 1\.0 in the lock; `make setup`"):
        bill_of_materials.make_bill("asgi")
