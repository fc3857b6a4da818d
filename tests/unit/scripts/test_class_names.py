import json
from pathlib import Path

import pytest

from model import read_metadata
from scripts.class_names import ClassNamesError, index_to_name, read_class_names
from scripts.package import DEFAULT_CHECKPOINT
from scripts.package.recipe import DEFAULT_MODEL_CONFIG, Recipe
from tests.support import write_checkpoint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"1": "cat", "0": "background"}'),
        ("a.json", '["background", "cat"]'),
        ("a.txt", "background\n\n cat \n"),
    ],
)
def test_names_are_read_from_json_and_text(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    assert read_class_names(tmp_path / name) == ("background", "cat")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("byte_order_mark", ["", "\ufeff"])
def test_text_of_any_system_is_read(tmp_path: Path, encoding: str, byte_order_mark: str, line_end: str) -> None:
    text = byte_order_mark + line_end.join(["background", "Dächer", "  road  ", "", ""])
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (tmp_path / "a.json").write_bytes((byte_order_mark + '["background",\n "Dächer", "road"]').encode(encoding))

    for name in ("a.txt", "a.json"):
        assert read_class_names(tmp_path / name) == ("background", "Dächer", "road")


@pytest.mark.parametrize("spelling", ["_background_", "__background__", "Background", "BACKGROUND"])
@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_every_spelling_of_background_is_background(tmp_path: Path, spelling: str, name: str) -> None:
    names = [spelling, "roof"]
    (tmp_path / name).write_text(json.dumps(names) if name.endswith("json") else "\n".join(names))

    assert read_class_names(tmp_path / name) == ("background", "roof")


def test_two_backgrounds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("background\nroof\n__background__\n")

    with pytest.raises(ClassNamesError, match=r"a\.txt: names background 2 times, in any spelling; keep one"):
        read_class_names(tmp_path / "a.txt")


@pytest.mark.parametrize("spelling", ["__ignore__", "_ignore_"])
def test_labelmes_ignored_pixels_are_not_a_class(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "a.txt").write_text(f"{spelling}\n_background_\nroof\n")

    assert read_class_names(tmp_path / "a.txt") == ("background", "roof")


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("background\nDächer\n".encode("latin-1"))

    with pytest.raises(ClassNamesError, match=r"a\.txt: byte 12 \(0xe4\) is not UTF-8; save the file as UTF-8"):
        read_class_names(tmp_path / "a.txt")


@pytest.mark.parametrize("text", ["", "\n\r\n", "__ignore__\n"])
def test_a_file_without_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)

    with pytest.raises(ClassNamesError, match="names no class; write one name per line"):
        read_class_names(tmp_path / "a.txt")


@pytest.mark.parametrize("text", ['{"0": "a", "2": "b"}', '{"a": "0"}', '"a"', "3"])
def test_indices_with_gaps_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    with pytest.raises(ClassNamesError, match=r'must map every index from "0" to a name'):
        read_class_names(path)


def test_written_names_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "index_to_name.json"
    path.write_text(index_to_name(("hus", "träd")))

    assert read_class_names(path) == ("hus", "träd")


@pytest.mark.parametrize("stored", ["background", "__background__"])
def test_packaging_accepts_background_in_any_spelling(tmp_path: Path, stored: str) -> None:
    (tmp_path / "names.txt").write_bytes("_background_\r\ncat\r\ndog\r\n".encode("utf-16"))
    checkpoint = write_checkpoint(tmp_path / "a.safetensors", classes=(stored, "cat", "dog"))

    Recipe("pets", "1.0", checkpoint, DEFAULT_MODEL_CONFIG, class_names=tmp_path / "names.txt").check()


def test_index_to_name_json_has_the_default_checkpoints_classes() -> None:
    assert read_class_names() == read_metadata(DEFAULT_CHECKPOINT).classes
