"""Masks whose colours represent classes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scripts.datasets import VOID, DataError, DataSource, check, open_data
from scripts.datasets.colour_map import read_colour_map
from tests.unit.scripts.datasets.support import only_mask, write_image, write_pairs

COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
MASK = np.array([[0, 1, 2], [2, 1, 0]])
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"


def write_coloured(root: Path, file: str, text: str, pixels: npt.NDArray[np.uint8] = COLOURS[MASK]) -> Path:
    write_pairs(root, {"a": pixels}, names=None)
    (root / file).write_text(text)
    return root


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labelmap.txt", LABELMAP),
        ("labelmap.txt", "\ufeff" + LABELMAP.replace("\n", "\r\n") + "\r\n"),
        ("labelmap.txt", LABELMAP.replace("dog:0,128,0::", "dog:0,128,0:ear,tail:run,sit")),
        ("colors.txt", "background 0 0 0\ncat 128 0 0\ndog 0 128 0\n"),
        ("colors.txt", "# name r g b\n\nbackground,0,0,0\ncat, 128, 0, 0\ndog\t0,128,0\n"),
        ("colors.txt", "_background_: 0 0 0\ncat: 128 0 0\ndog: 0 128 0\n"),
    ],
)
def test_a_file_maps_colours_to_classes(tmp_path: Path, file: str, text: str) -> None:
    data = open_data(write_coloured(tmp_path, file, text))

    assert data.classes == ("background", "cat", "dog")
    assert only_mask(data) == MASK.tolist()


def test_names_may_have_spaces_and_digits_and_share_a_class(tmp_path: Path) -> None:
    write_coloured(tmp_path, "colors.txt", "background 0 0 0\nclass 1, wet 128 0 0\nclass 1, wet 0 128 0\n")

    data = open_data(tmp_path)

    assert data.classes == ("background", "class 1, wet")
    assert only_mask(data) == np.minimum(MASK, 1).tolist()


@pytest.mark.parametrize("name", ["ignored", "void", "__ignore__"])
def test_ignored_colours_are_void(tmp_path: Path, name: str) -> None:
    data = open_data(write_coloured(tmp_path, "labelmap.txt", LABELMAP.replace("dog", name)))

    assert data.classes == ("background", "cat")
    assert only_mask(data) == np.where(MASK == 2, VOID, MASK).tolist()


def test_background_comes_first_wherever_the_file_has_it(tmp_path: Path) -> None:
    data = open_data(write_coloured(tmp_path, "labelmap.txt", "cat:128,0,0::\nbackground:0,0,0::\ndog:0,128,0::\n"))

    assert data.classes == ("background", "cat", "dog")
    assert only_mask(data) == MASK.tolist()


def test_the_caller_or_the_names_file_orders_the_classes(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "labelmap.txt", LABELMAP)

    assert only_mask(open_data(root, classes=("Dog", "Cat", "Background"))) == (2 - MASK).tolist()
    (root / "classes.txt").write_text("dog\ncat\nbackground\n")
    assert only_mask(open_data(root)) == (2 - MASK).tolist()


def test_palette_masks_are_read_by_their_colours(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "labelmap.txt", LABELMAP)
    picture = Image.fromarray(np.array([3, 0, 7], np.uint8)[MASK])
    picture.putpalette([value for index in range(8) for value in {3: (0, 0, 0), 0: (128, 0, 0)}.get(index, (0, 128, 0))])
    picture.save(root / "masks" / "a.png")

    assert only_mask(open_data(root)) == MASK.tolist()


def test_grey_masks_hold_indices_unless_the_colours_are_grey(tmp_path: Path) -> None:
    grey = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    assert only_mask(open_data(write_coloured(tmp_path / "a", "labelmap.txt", LABELMAP, grey))) == MASK.tolist()

    text = "background 0 0 0\ncat 128 128 128\ndog 255 255 255\n"
    shades = np.array([0, 128, 255], np.uint8)[MASK]
    assert only_mask(open_data(write_coloured(tmp_path / "b", "colors.txt", text, shades))) == MASK.tolist()

    root = write_coloured(tmp_path / "c", "colors.txt", "background 0 0 0\nroof 255 255 255\n", shades)
    Image.fromarray(shades == 255).save(root / "masks" / "a.png")
    assert only_mask(open_data(root)) == (MASK == 2).astype(int).tolist()


def test_mask_values_replace_colours(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "labelmap.txt", LABELMAP, np.array([[0, 255, 2]], np.uint8))
    source = DataSource.model_validate({"folder": root, "mask_values": {255: "cat"}})

    assert only_mask(open_data(source)) == [[0, 1, 2]]


def test_an_unknown_colour_is_reported_with_its_pixel_count_and_position(tmp_path: Path) -> None:
    pixels = COLOURS[MASK]
    pixels[1, 1:] = (127, 3, 9)

    with pytest.raises(DataError) as caught:
        check(open_data(write_coloured(tmp_path, "labelmap.txt", LABELMAP, pixels)), 3, show_progress=False)

    message = "masks/a.png: colours without a class in labelmap.txt: 127 3 9 in 2 pixels, first at x 1, y 1; add a line"
    assert message in str(caught.value)
    assert "smoothing" not in str(caught.value)


def test_a_smoothed_mask_is_recognised(tmp_path: Path) -> None:
    pixels = np.asarray(Image.fromarray(COLOURS[MASK]).resize((24, 16), Image.Resampling.BICUBIC))

    with pytest.raises(DataError, match=r"and \d+ more; such shades come from smoothing \(antialiasing\), resizing or JPEG"):
        only_mask(open_data(write_coloured(tmp_path, "labelmap.txt", LABELMAP, pixels)))


def test_a_colour_whose_name_is_not_a_class_is_refused(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "labelmap.txt", LABELMAP)

    with pytest.raises(DataError, match=r"0 128 0 \('dog', which is not a class\) in 2 pixels, first at x 2, y 0"):
        only_mask(open_data(root, classes=("background", "cat")))
    with pytest.raises(DataError, match=r"labelmap\.txt: names background, cat, dog; none except background is one of"):
        open_data(root, classes=("background", "roof"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("colors.txt", "cat 128 0\n", r"colors\.txt: cannot read the line 'cat 128 0'; it must be `name r g b`"),
        ("colors.txt", "cat 128 0 256\n", "numbers from 0 to 255"),
        ("colors.txt", "128 0 0\n", "cannot read the line"),
        ("labelmap.txt", "cat 128 0 0\n", "must be label:r,g,b:parts:actions"),
        ("labelmap.txt", "cat:1,2:: \n", "must be label:r,g,b:parts:actions"),
        ("colors.txt", "cat 1 2 3\ndog 1 2 3\n", "cat and dog have the same colour, 1 2 3"),
    ],
)
def test_a_line_that_cannot_be_read_is_quoted(tmp_path: Path, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)

    with pytest.raises(DataError, match=message):
        read_colour_map(tmp_path)


def test_names_that_differ_only_in_case_stay_distinct(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "colors.txt", "background 0 0 0\ncat 128 0 0\nCat 0 128 0\n")

    assert only_mask(open_data(root)) == MASK.tolist()


def test_two_files_of_colours_are_refused(tmp_path: Path) -> None:
    write_coloured(tmp_path, "labelmap.txt", LABELMAP)
    (tmp_path / "colors.txt").write_text("cat 1 2 3\n")

    with pytest.raises(DataError, match=r"has labelmap\.txt and colors\.txt; keep one"):
        open_data(tmp_path)


def test_labels_without_colours_are_not_a_colour_map(tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text("background:::\ncat:::\n")

    assert read_colour_map(tmp_path) is None


colours = st.tuples(*[st.integers(0, 255)] * 3)


@settings(max_examples=25)
@given(st.lists(colours, min_size=2, max_size=20, unique=True), st.data())
def test_every_colour_is_read_as_its_class(
    tmp_path_factory: pytest.TempPathFactory, palette: list[tuple[int, ...]], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("colours")
    mask = np.array(data.draw(st.lists(st.integers(0, len(palette) - 1), min_size=6, max_size=6))).reshape(2, 3)
    (root / "colors.txt").write_text("".join(f"class {i} {r} {g} {b}\n" for i, (r, g, b) in enumerate(palette)))
    write_pairs(root, {"a": np.array(palette, np.uint8)[mask]}, names=None)

    assert only_mask(open_data(root)) == mask.tolist()


def test_a_jpeg_mask_is_refused_with_colours_too(tmp_path: Path) -> None:
    root = write_coloured(tmp_path, "labelmap.txt", LABELMAP)
    (root / "masks" / "a.png").unlink()
    write_image(root / "masks" / "a.jpg", COLOURS[MASK])

    with pytest.raises(DataError, match=r"a\.jpg: a mask cannot be a JPEG, which changes class indices and colours"):
        only_mask(open_data(root))
