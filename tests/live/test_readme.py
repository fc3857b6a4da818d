"""The commands of README and of docs/requests.md, run in a copy of the repository."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.server import Ports
from tests.support import ROOT

_TABLE_LINE = re.compile(r"^\| .* \| `(curl [^`]+)` \|$", re.MULTILINE)
_BLOCK = re.compile(r"(<!-- not run[^\n]*-->\n)?```(sh|json|python|text)\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Return language and text of README's code blocks, except those marked `not run`."""
    return [(match[2], match[3]) for match in _BLOCK.finditer((ROOT / "README.md").read_text()) if not match[1]]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, default_archive: Path, scenes_archive: Path) -> Path:
    """Copy the repository without build products except two archives, which `make` finds up to date."""
    folder = tmp_path_factory.mktemp("readme") / "repository"
    ignore = shutil.ignore_patterns(".git", ".venv", "build", "logs", ".*_cache", ".hypothesis", "node_modules")
    shutil.copytree(ROOT, folder, ignore=ignore)
    store = folder / "build" / "model-store"
    store.mkdir(parents=True)
    for archive in (default_archive, scenes_archive):
        for file in (archive, archive.with_suffix(".proven")):
            shutil.copy(file, store)
    return folder


def test_readme_commands_print_the_documented_output(copy: Path) -> None:
    base = free_base()
    # One of the two models beside the default: packaging takes ten seconds.
    environment = {**os.environ, "PORT": str(base), "VENV": sys.prefix, "MAKEFLAGS": "", "DEMO_MODELS": "scenes"}

    try:
        for (language, text), (next_language, documented) in zip(blocks(), [*blocks()[1:], ("", "")], strict=True):
            if language not in ("sh", "python") or "make test" in text:
                continue
            if "make stop" in text:
                run_requests_page(copy, environment, base)
                run_grpc_example(copy, base + 3)
            command = text.replace(":8080/", f":{base}/").replace(".venv/bin/", f"{sys.prefix}/bin/")
            program = [sys.executable] if language == "python" else ["bash", "-e"]
            result = subprocess.run([*program, "-c", command], cwd=copy, env=environment, capture_output=True, text=True)
            assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
            if next_language in ("json", "text"):
                assert_documented(result.stdout, documented.strip())
    finally:
        subprocess.run(["make", "stop"], cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)

    demo = copy / "build" / "demo"
    photographs = ["deeplabv3/astronaut", "deeplabv3/chelsea", "scenes/temple"]
    answers = [f"{photograph}{suffix}" for photograph in photographs for suffix in (".json", ".overlay.jpg", ".png")]
    assert sorted(path.relative_to(demo).as_posix() for path in demo.rglob("*.*")) == answers
    with Image.open(copy / "build" / "mask.png") as mask, Image.open(copy / "build" / "overlay.jpg") as overlay:
        assert (mask.mode, mask.size) == ("P", (451, 300))
        assert overlay.size == (451, 300)
    assert json.loads((demo / "deeplabv3" / "chelsea.json").read_text())["segments"][0]["label"] == "cat"
    assert json.loads((demo / "scenes" / "temple.json").read_text())["segments"][0]["label"] == "sky"


def run_requests_page(copy: Path, environment: dict[str, str], base: int) -> None:
    """Run every curl line of docs/requests.md; none may fail."""
    page = (ROOT / "docs" / "requests.md").read_text()
    (variables,) = re.findall(r"```sh\n(.*?)\n```", page, re.DOTALL)
    commands = _TABLE_LINE.findall(page)
    assert len(commands) > 30
    (copy / ".curlrc").write_text("fail-with-body\n")
    for command in commands:
        script = f"{variables}\n{command}".replace(":8080/", f":{base}/").replace(":8081/", f":{base + 1}/")
        result = subprocess.run(
            ["bash", "-ec", script], cwd=copy, env={**environment, "CURL_HOME": str(copy)}, capture_output=True
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-1000:]!r}\n{result.stderr[-1000:]!r}"


def run_grpc_example(copy: Path, port: int) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "http-api.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", example.replace(":8083", f":{port}")]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["segments"][0]["label"] == "cat"


@pytest.mark.parametrize("page", ["README.md", "docs/requests.md"])
def test_links_point_to_existing_files(page: str) -> None:
    path = ROOT / page

    links = [link for link in re.findall(r"\]\(([^)]+)\)", path.read_text()) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []


def assert_documented(output: str, documented: str) -> None:
    """Compare output with README up to the first `…`, ignoring numbers, which differ slightly between machines."""

    def words(text: str) -> str:
        return re.sub(r"[\d.]+", "0", text)

    beginning = words(documented.split("…")[0])
    assert words(output)[: len(beginning)] == beginning


def free_base() -> int:
    """Return the first of five consecutive free ports, below the system's ephemeral ports."""
    while True:
        base = 10_000 + 5 * secrets.randbelow(4_000)
        if not Ports.from_base(base).in_use():
            return base
