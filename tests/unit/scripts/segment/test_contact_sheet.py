import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.segment.answer_images import image_reader
from scripts.segment.contact_sheet import MAX_PHOTOGRAPHS, NothingToDraw, draw_sheet
from scripts.segment.inputs import Photograph
from scripts.segment.output_paths import Task
from tests.support import encode, noise

RED, BLUE = (255, 0, 0), (0, 0, 255)


def task(folder: Path, name: str = "a.png", size: tuple[int, int] = (60, 40)) -> Task:
    """Write a red photograph with a blue answer."""
    answered = Task(Photograph(folder / name, name), folder / f"{name}.answer.png")
    answered.photograph.path.write_bytes(encode(Image.new("RGB", size, RED)))
    answered.answer.write_bytes(encode(Image.new("RGB", size, BLUE)))
    return answered


def sheet(folder: Path, *tasks: Task) -> Image.Image:
    read_image = image_reader("png")
    assert read_image is not None
    path = folder / "sheet.jpg"
    draw_sheet(tasks, read_image, path, "png")
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "JPEG"
        return picture


def extent(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the area with about this colour."""
    near = (np.abs(np.asarray(picture, np.int64) - colour) < 40).all(axis=-1)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def test_a_photograph_is_beside_its_answer(tmp_path: Path) -> None:
    picture = sheet(tmp_path, task(tmp_path))

    red, blue = extent(picture, RED), extent(picture, BLUE)
    assert red[2:] == blue[2:] == (60, 40)
    assert red[1] == blue[1]
    assert red[0] + red[2] <= blue[0] < red[0] + red[2] + 10


def test_large_photographs_shrink_and_keep_their_shape(tmp_path: Path) -> None:
    assert extent(sheet(tmp_path, task(tmp_path, size=(1000, 500))), RED)[2:] == pytest.approx((200, 100), abs=1)


def test_photographs_are_upright(tmp_path: Path) -> None:
    rotated = task(tmp_path, size=(40, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated.photograph.path.write_bytes(encode(Image.new("RGB", (60, 40), RED), "JPEG", exif=exif))

    assert extent(sheet(tmp_path, rotated), RED)[2:] == pytest.approx((40, 60), abs=1)


def test_a_sheet_has_a_limited_number_of_photographs(tmp_path: Path) -> None:
    all_tasks = [task(tmp_path, f"{number:03}.png", (8, 8)) for number in range(MAX_PHOTOGRAPHS + 20)]

    limited, full = sheet(tmp_path, *all_tasks), sheet(tmp_path, *all_tasks[:MAX_PHOTOGRAPHS])

    assert limited.size == full.size


def test_the_first_and_last_photographs_are_among_those_shown(tmp_path: Path) -> None:
    all_tasks = [task(tmp_path, f"{number:03}.png", (8, 8)) for number in range(2 * MAX_PHOTOGRAPHS)]
    for marked in (all_tasks[0], all_tasks[-1]):
        marked.photograph.path.write_bytes(encode(Image.new("RGB", (8, 8), (0, 255, 0))))

    _, top, _, height = extent(sheet(tmp_path, *all_tasks), (0, 255, 0))

    rows = MAX_PHOTOGRAPHS // 3
    assert height > (rows - 1) * 30
    assert top < 60


def test_a_broken_answer_does_not_hide_the_others(tmp_path: Path) -> None:
    good, bad = task(tmp_path, "a.png"), task(tmp_path, "b.png")
    bad.answer.write_bytes(b"nothing")

    assert extent(sheet(tmp_path, good, bad), BLUE)[2:] == (60, 40)


def test_a_sheet_without_readable_answers_is_not_drawn(tmp_path: Path) -> None:
    bad = task(tmp_path)
    bad.answer.write_bytes(b"nothing")

    with pytest.raises(NothingToDraw, match=re.escape("a.png: cannot identify image file")):
        sheet(tmp_path, bad)

    assert not (tmp_path / "sheet.jpg").exists()


@pytest.mark.parametrize("name", ["ein Wörtchen, жизнь.png", "n" * 200 + ".png", "caf\udce9.png"])
def test_any_name_can_be_written(tmp_path: Path, name: str) -> None:
    oddly_named = Task(Photograph(tmp_path / "a.png", name), tmp_path / "b.png")
    for path in (oddly_named.photograph.path, oddly_named.answer):
        path.write_bytes(encode(noise(20, 20)))

    assert sheet(tmp_path, oddly_named).width < 500
