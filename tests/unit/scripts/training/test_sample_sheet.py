from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handler.labels import Labels
from scripts.datasets import VOID
from scripts.training.watch.sample_sheet import draw_samples

pytestmark = pytest.mark.slow

LABELS = Labels(("background", "cat", "dog"), ((0, 0, 0), (250, 0, 0), (0, 250, 0)))


def sheet(out: Path, truth: int, prediction: int, count: int = 1, rows: int = 8) -> Image.Image:
    """Draw a sheet of black images, each with one true and one predicted class."""
    images = [np.zeros((30, 40, 3), np.uint8)] * count
    truths, predictions = ([np.full((30, 40), index, np.uint8)] * count for index in (truth, prediction))
    draw_samples(images, truths, predictions, LABELS, out, rows)
    with Image.open(out) as image:
        return image.convert("RGB")


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}


def test_truth_is_in_the_middle_and_the_prediction_on_the_right(tmp_path: Path) -> None:
    picture = sheet(tmp_path / "sheet.png", truth=1, prediction=2)

    middle = picture.height // 2
    photo, truth, prediction = (picture.getpixel((picture.width * part // 6, middle)) for part in (1, 3, 5))
    assert (photo, truth, prediction) == ((0, 0, 0), (162, 0, 0), (0, 162, 0))


@pytest.mark.parametrize(("index", "expected"), [(1, {(250, 0, 0)}), (2, {(0, 250, 0)}), (VOID, {(224, 224, 192)})])
def test_the_legend_shows_the_classes_that_occur(tmp_path: Path, index: int, expected: set[tuple[int, ...]]) -> None:
    picture = sheet(tmp_path / "sheet.png", truth=0, prediction=index)

    assert colours(picture) & {(250, 0, 0), (0, 250, 0), (224, 224, 192)} == expected


def test_the_number_of_rows_is_limited(tmp_path: Path) -> None:
    two, limited = (sheet(tmp_path / f"{count}.png", truth=0, prediction=1, count=count, rows=2) for count in (2, 5))

    assert limited.size == two.size


def test_a_legend_of_many_classes_takes_several_lines(tmp_path: Path) -> None:
    names = tuple(f"a class called {index}" for index in range(60))
    labels = Labels(names, ((9, 9, 9),) * 60)
    image, mask = np.zeros((30, 60, 3), np.uint8), np.tile(np.arange(60, dtype=np.uint8), (30, 1))

    for name, label_map in (("one", np.zeros_like(mask)), ("all", mask)):
        draw_samples([image], [label_map], [label_map], labels, tmp_path / f"{name}.png")

    with Image.open(tmp_path / "one.png") as short, Image.open(tmp_path / "all.png") as long:
        assert long.width == short.width
        assert long.height > short.height + 100


def test_each_image_needs_its_truth_and_prediction(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 images, 1 truths, 0 predictions"):
        draw_samples([], [np.zeros((1, 1), np.uint8)], [], LABELS, tmp_path / "sheet.png")
