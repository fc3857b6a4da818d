import os
from pathlib import Path

import pytest

from scripts.segment.errors import SegmentingError
from scripts.segment.inputs import find_photographs, image_suffixes

OUT = Path("nowhere")


def touch_files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names(*inputs: Path, out: Path = OUT) -> list[str]:
    return [photograph.name for photograph in find_photographs(inputs, out)]


def test_folders_are_searched_recursively_in_order(tmp_path: Path) -> None:
    touch_files(tmp_path, "c.png", "b/d.jpg", "a.JPEG", "b/a/e.tif")

    assert names(tmp_path) == ["a.JPEG", "b/a/e.tif", "b/d.jpg", "c.png"]


def test_the_accepted_formats_have_their_usual_suffixes() -> None:
    assert image_suffixes() >= {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    assert not image_suffixes() & {".txt", ".pdf", ".psd", ""}


def test_files_that_are_not_images_are_skipped(tmp_path: Path) -> None:
    assert names(touch_files(tmp_path, "a.jpg", "notes.txt", "b.jpg.json", "jpg")) == ["a.jpg"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    assert names(touch_files(tmp_path, "a.jpg", ".b.jpg", ".cache/c.jpg")) == ["a.jpg"]


def test_an_explicit_file_is_used_whatever_its_suffix(tmp_path: Path) -> None:
    touch_files(tmp_path, "photo.bin", ".hidden.jpg")

    assert names(tmp_path / "photo.bin", tmp_path / ".hidden.jpg") == ["photo.bin", ".hidden.jpg"]


def test_the_same_file_twice_is_one_photograph(tmp_path: Path) -> None:
    touch_files(tmp_path, "a.jpg")

    assert names(tmp_path, tmp_path / "a.jpg") == ["a.jpg"]


def test_the_output_folder_is_skipped(tmp_path: Path) -> None:
    touch_files(tmp_path, "a.jpg", "masks/a.png", "masks/deep/b.png")

    assert names(tmp_path, out=tmp_path / "masks") == ["a.jpg"]


def test_the_output_folder_is_skipped_behind_a_link(tmp_path: Path) -> None:
    touch_files(tmp_path, "photos/a.jpg", "photos/masks/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "photos")

    assert names(tmp_path / "photos", out=tmp_path / "link" / "masks") == ["a.jpg"]


def test_answers_of_other_runs_are_skipped_unless_given_explicitly(tmp_path: Path) -> None:
    touch_files(tmp_path, "a.jpg", "overlays/.segment.json", "overlays/a.jpg", "overlays/deep/b.jpg")

    assert names(tmp_path) == ["a.jpg"]
    assert names(tmp_path / "overlays") == ["a.jpg", "deep/b.jpg"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch_files(tmp_path, "photos/a.jpg", "more/b.jpg")
    (tmp_path / "photos" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "more")

    assert names(tmp_path / "photos") == ["a.jpg", "more/b.jpg"]


def test_a_missing_input_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SegmentingError, match=r"missing\.jpg: no such file or folder"):
        names(tmp_path / "missing.jpg")


def test_a_folder_without_images_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SegmentingError, match=r"holds no images; these end in .*\.jpg"):
        names(touch_files(tmp_path, "notes.txt"))


def test_the_output_folder_cannot_be_an_input(tmp_path: Path) -> None:
    with pytest.raises(SegmentingError, match="is the folder for answers"):
        names(touch_files(tmp_path, "a.jpg"), out=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    touch_files(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(SegmentingError, match="closed: cannot be read: Permission denied"):
            names(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
