from collections.abc import Callable
from pathlib import Path

import pytest

from handler.digest import content_digest


def write(folder: Path) -> Path:
    (folder / "handler").mkdir(parents=True)
    (folder / "handler" / "a.py").write_text("a")
    (folder / "model.safetensors").write_bytes(b"\0\1")
    return folder


def test_equal_files_have_equal_digests_in_any_folder(tmp_path: Path) -> None:
    assert content_digest(write(tmp_path / "one")) == content_digest(write(tmp_path / "two" / "__pycache__" / "three"))


def test_the_digest_is_a_sha_256_in_hex(tmp_path: Path) -> None:
    digest = content_digest(write(tmp_path / "one"))

    assert len(digest) == 64
    assert int(digest, 16)


def test_bytecode_does_not_change_the_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "one")
    before = content_digest(folder)
    (folder / "handler" / "__pycache__").mkdir()
    (folder / "handler" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")

    assert content_digest(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"\0\2"),
        lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors"),
        lambda folder: (folder / "handler" / "a.py").rename(folder / "a.py"),
        lambda folder: (folder / "more").write_text(""),
        lambda folder: (folder / "handler" / "a.py").unlink(),
    ],
    ids=["bytes", "name", "folder", "added file", "removed file"],
)
def test_changing_a_file_or_its_name_changes_the_digest(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = write(tmp_path / "one")
    before = content_digest(folder)

    change(folder)

    assert content_digest(folder) != before
