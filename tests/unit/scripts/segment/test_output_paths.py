from pathlib import Path

import pytest

from scripts.segment.errors import SegmentingError
from scripts.segment.inputs import Photograph
from scripts.segment.output_paths import plan_answers

PHOTOS = Path("photos")
OUT = Path("out")


def photographs(*names: str) -> list[Photograph]:
    return [Photograph(PHOTOS / name, name) for name in names]


def answers(*names: str, suffix: str = ".png", out: Path = OUT, keep_suffix: bool = False) -> list[str]:
    tasks = plan_answers(photographs(*names), out, suffix, keep_suffix=keep_suffix)
    return [task.answer.as_posix() for task in tasks]


def test_answers_keep_the_path_of_their_photographs() -> None:
    assert answers("a.jpg", "b/c.d.tiff") == ["out/a.png", "out/b/c.d.png"]


def test_the_photographs_suffix_can_be_kept() -> None:
    assert answers("photo.jpg", "photo.png", keep_suffix=True) == ["out/photo.jpg.png", "out/photo.png.png"]


def test_all_answers_with_colliding_paths_are_reported() -> None:
    with pytest.raises(SegmentingError, match="--keep-suffix") as caught:
        answers("a.jpg", "a.png", "b.jpg", "c/a.jpg", "c/a.bmp")

    assert str(caught.value).splitlines()[1:] == [
        "  photos/a.jpg and photos/a.png: out/a.png",
        "  photos/c/a.jpg and photos/c/a.bmp: out/c/a.png",
    ]


def test_many_collisions_are_counted() -> None:
    pairs = [f"{number}.{suffix}" for number in range(9) for suffix in ("jpg", "png")]

    with pytest.raises(SegmentingError, match=r"and 4 more$"):
        answers(*pairs)


def test_no_answer_overwrites_a_photograph() -> None:
    with pytest.raises(SegmentingError, match=r"photos/a\.jpg: its answer would overwrite a photograph, photos/a\.jpg"):
        answers("a.jpg", suffix=".jpg", out=PHOTOS)


def test_no_answer_overwrites_a_photograph_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    photograph = Photograph(tmp_path / "photos" / "a.jpg", "a.jpg")

    with pytest.raises(SegmentingError, match="a photograph"):
        plan_answers([photograph], tmp_path / "link", ".jpg", keep_suffix=False)


@pytest.mark.parametrize(("name", "suffix"), [("contact-sheet.png", ".jpg"), (".segment.bmp", ".json"), ("failed.gif", ".txt")])
def test_no_answer_overwrites_a_file_of_the_run(name: str, suffix: str) -> None:
    with pytest.raises(SegmentingError, match="a file of this program"):
        answers(name, suffix=suffix)
