from pathlib import Path

import pytest

from model import read_metadata
from scripts.class_names import ClassNamesError, index_to_name, read_class_names
from scripts.package import DEFAULT_CHECKPOINT


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"1": "cat", "0": "background"}'),
        ("a.json", '["background", "cat"]'),
        ("a.txt", "background\n\n cat \n"),
    ],
)
def test_names_are_read_from(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    assert read_class_names(tmp_path / name) == ("background", "cat")


@pytest.mark.parametrize("text", ['{"0": "a", "2": "b"}', '{"a": "0"}', '"a"', "3"])
def test_gaps_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(ClassNamesError, match=r'must map every index from "0" to a name'):
        read_class_names(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index_to_name.json"
    path.write_text(index_to_name(("hus", "träd")))

    assert read_class_names(path) == ("hus", "träd")


def test_the_repositorys_names_are_the_default_checkpoints() -> None:
    assert read_class_names() == read_metadata(DEFAULT_CHECKPOINT).classes
