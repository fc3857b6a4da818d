"""The page's files: how they are served, their size, and what they may not do."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from handler.servers.asgi.page import CONTENT_SECURITY_POLICY, FILES, page_paths
from scripts.package.recipe import DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG, Recipe
from tests.support import ROOT
from tests.unit.handler.servers.asgi.support import TIMEOUT_S, FakeServer, fake_server

_MAX_COMPRESSED_BYTES = 150_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"somebody predict sha256:{'0' * 64}\n")
    tokens.chmod(0o600)
    with fake_server(tmp_path_factory.mktemp("server"), "--tokens", str(tokens)) as running:
        yield running


def test_every_file_is_public_and_has_the_pages_security_policy(server: FakeServer) -> None:
    for path in page_paths():
        response = requests.get(server.url + path, timeout=TIMEOUT_S)

        assert response.status_code == 200
        assert response.content == (FILES / (path[1:] or "index.html")).read_bytes()
        assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert response.headers["x-content-type-options"] == "nosniff"


def test_files_named_by_content_are_cached_and_others_revalidated(server: FakeServer) -> None:
    caching = {path: requests.head(server.url + path, timeout=TIMEOUT_S).headers["cache-control"] for path in page_paths()}

    assert caching["/"] == caching["/favicon.svg"] == "no-cache"
    assert {value for path, value in caching.items() if path.startswith("/assets/")} == {"public, max-age=31536000, immutable"}


@pytest.mark.parametrize("path", ["/assets/%2e%2e%2findex.html", "/assets/", "/%2e%2e/page.py", "/page.py"])
def test_nothing_else_is_served(server: FakeServer, path: str) -> None:
    assert requests.get(server.url + path, timeout=TIMEOUT_S).status_code in {401, 404}


def test_scripts_and_styles_are_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in (FILES / "assets").iterdir()}

    assert sum(sizes.values()) <= _MAX_COMPRESSED_BYTES, sizes


def test_the_page_holds_no_inline_script_and_no_address_of_another_origin() -> None:
    html = (FILES / "index.html").read_text()

    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", html)
    for path in [FILES / "index.html", *(FILES / "assets").iterdir()]:
        assert set(re.findall(r"https?://[\w.-]+", path.read_text())) <= {"http://www.w3.org"}, path.name


def test_the_archive_contains_the_page() -> None:
    sources = Recipe("page", "1.0", DEFAULT_CHECKPOINT, DEFAULT_MODEL_CONFIG).sources()

    assert {path.relative_to(ROOT) for path in FILES.rglob("*") if path.is_file()} <= set(sources)


def test_the_lock_file_pins_packages_without_naming_a_registry() -> None:
    lock = json.loads((ROOT / "page" / "package-lock.json").read_text())
    dependencies = json.loads((ROOT / "page" / "package.json").read_text())["devDependencies"]

    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())
    assert {name: packages[f"node_modules/{name}"]["version"] for name in dependencies} == dependencies
    assert Path(ROOT / "page" / ".npmrc").read_text().startswith("omit-lockfile-registry-resolved=true\n")
