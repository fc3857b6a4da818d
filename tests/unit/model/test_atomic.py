from pathlib import Path

import pytest

from model.atomic import write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_the_new_content_replaces_the_old(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "deep" / "file"

    for content in (b"old", b"new"):
        write_atomically(path, content, durable=durable)

    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()

    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]
