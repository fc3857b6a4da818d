"""Execution of a Containerfile without an engine: parsing, the order of instructions, and the command of the image."""

import json
from pathlib import Path

import pytest

pytest.importorskip("dockerfile_parse", reason="the package dockerfile-parse (extra deploy) is missing")

from tests.support import ROOT
from tools.image_root import Builder, ImageError, build, command, instructions

CONTAINERFILES = sorted((ROOT / "deploy" / "containers").glob("*.Containerfile"))
#: Two stages without RUN, the only instruction that needs mounts.
TWO_STAGES = """
# A comment.
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS build
COPY LICENSE README.md /built/

FROM ${BASE_IMAGE} AS server
ARG SOURCE=LICENSE
COPY ${SOURCE} /licence.txt
COPY --from=build /built /copied
COPY tools/*.py /tools/
WORKDIR /work
ENV HOME=/tmp \\
    GREETING="good day"
VOLUME ["/cache", "/tmp"]
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/bin/server", "--host"]
CMD ["0.0.0.0"]
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "of-the-base").write_text("")
    return folder


def containerfile(folder: Path, text: str) -> Path:
    path = folder / "Containerfile"
    path.write_text(text)
    return path


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.stem)
def test_the_builder_supports_every_instruction_of_the_containerfiles(file: Path) -> None:
    names = [name for name, _ in instructions(file)]

    assert names[:2] == ["ARG", "FROM"]
    assert names.count("FROM") == 2
    assert names[-1] == "ENTRYPOINT"
    assert all(hasattr(Builder, f"_{name.lower()}") for name in names)


def test_instructions_keep_their_order_and_join_continued_lines(tmp_path: Path) -> None:
    parsed = list(instructions(containerfile(tmp_path, TWO_STAGES)))

    assert [name for name, _ in parsed][:6] == ["ARG", "FROM", "COPY", "FROM", "ARG", "COPY"]
    assert dict(parsed)["ENV"].split() == ["HOME=/tmp", 'GREETING="good', 'day"']


def test_a_stage_contains_only_its_base_and_copied_files(base: Path, tmp_path: Path) -> None:
    root = build(containerfile(tmp_path, TWO_STAGES), base, tmp_path / "out", {"SOURCE": "pyproject.toml"})

    assert root == tmp_path / "out" / "server"
    assert sorted(path.name for path in root.iterdir()) == ["copied", "licence.txt", "of-the-base", "tools", "work"]
    assert (root / "licence.txt").read_text() == (ROOT / "pyproject.toml").read_text()
    assert sorted(path.name for path in (root / "copied").iterdir()) == ["LICENSE", "README.md"]
    assert (root / "tools" / "image_root.py").is_file()
    assert [path.name for path in base.iterdir()] == ["of-the-base"]


def test_the_command_follows_the_images_instructions(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    root = build(containerfile(tmp_path, TWO_STAGES), base, out, {})

    arguments = command(out, None, ["127.0.0.1", "--port", "9"])
    set_user = arguments.index("/usr/bin/setpriv")

    assert arguments[set_user - 3 : set_user] == [str(root), "/cache /tmp", ""]
    assert arguments[set_user + 1 : set_user + 5] == ["--reuid", "65532", "--regid", "65532"]
    assert arguments[arguments.index("-C") + 1] == "/work"
    assert {"HOME=/tmp", "GREETING=good day"} <= {*arguments}
    assert arguments[-5:] == ["/bin/server", "--host", "127.0.0.1", "--port", "9"]
    assert command(out, None, [])[-3:] == ["/bin/server", "--host", "0.0.0.0"]  # noqa: S104
    assert json.loads((out / "image.json").read_text())["volumes"] == ["/cache", "/tmp"]  # noqa: S108


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ADD https://example.org/file /file", r"ADD https://example\.org/file /file: this instruction is not supported"),
        ("COPY no-such-file /file", "COPY no-such-file: there is no such file in"),
    ],
)
def test_unsupported_instructions_and_missing_files_are_reported(line: str, message: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        build(containerfile(tmp_path, f"FROM ${{BASE_IMAGE}} AS server\n{line}\n"), base, tmp_path / "out", {})
