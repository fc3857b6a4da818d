from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.datasets import VOID, DataError, check, open_data, splits
from tests.support import noise

HEIGHT, WIDTH = 2, 3
PIXELS = [[0, 1, 2], [2, 2, VOID]]
UPSIDE_DOWN = 3


def write_photo(path: Path, exif: Image.Exif | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(HEIGHT, WIDTH)).save(path, exif=exif or Image.Exif())


def write_mask(path: Path, pixels: list[list[int]] = PIXELS, mode: str = "L", exif: Image.Exif | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(np.array(pixels, np.uint8))
    if mode == "P":
        mask.putpalette(list(range(256)) * 3)
    mask.convert(mode).save(path, exif=exif or Image.Exif())


def write_voc(root: Path, **lists: str) -> Path:
    for name in ("a", "b"):
        write_photo(root / "JPEGImages" / f"{name}.jpg")
        write_mask(root / "SegmentationClass" / f"{name}.png", mode="P")
    for split, names in lists.items():
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    return root


def write_plain(root: Path, *names: str) -> Path:
    for name in names:
        write_photo(root / "images" / f"{name}.jpg")
        write_mask(root / "masks" / f"{name}.png")
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    return root


def write_cityscapes(root: Path, ending: str, pixels: list[list[int]]) -> Path:
    write_photo(root / "leftImg8bit" / "val" / "ulm" / "ulm_0_leftImg8bit.png")
    write_mask(root / "gtFine" / "val" / "ulm" / f"ulm_0_gtFine_{ending}.png", pixels)
    return root


def test_voc_lists_select_images(tmp_path: Path) -> None:
    root = write_voc(tmp_path, train="a\n", val="b\n\n")

    assert splits(root) == ("train", "val")
    assert [sample.name for sample in open_data(root, "val").samples] == ["b"]


def test_a_voc_list_may_lie_at_the_root(tmp_path: Path) -> None:
    (write_voc(tmp_path) / "val.txt").write_text("a\nb")

    assert [sample.name for sample in open_data(tmp_path).samples] == ["a", "b"]


def test_a_palette_mask_gives_its_indices(tmp_path: Path) -> None:
    data = open_data(write_voc(tmp_path, val="a"))

    image, mask = data.read(data.samples[0])

    assert image.shape == (HEIGHT, WIDTH, 3)
    assert mask.dtype == np.uint8
    assert mask.tolist() == PIXELS


def test_a_plain_folder_without_lists_has_every_image(tmp_path: Path) -> None:
    data = open_data(write_plain(tmp_path, "one", "two.of.them"))

    assert [sample.name for sample in data.samples] == ["one", "two.of.them"]
    assert data.classes == ("background", "cat", "dog")
    assert data.read(data.samples[0])[1].tolist() == PIXELS


@pytest.mark.parametrize("line", ["two", "two.jpg", " two "])
def test_a_plain_list_names_images_with_or_without_suffix(tmp_path: Path, line: str) -> None:
    (write_plain(tmp_path, "one", "two") / "val.txt").write_text(f"{line}\n")

    assert [sample.name for sample in open_data(tmp_path).samples] == ["two"]


def test_a_plain_list_does_not_match_another_image(tmp_path: Path) -> None:
    (write_plain(tmp_path, "frame") / "val.txt").write_text("frame.0001\n")

    with pytest.raises(DataError, match=r"images/frame\.0001"):
        open_data(tmp_path)


def test_cityscapes_train_ids_are_kept(tmp_path: Path) -> None:
    data = open_data(write_cityscapes(tmp_path, "labelTrainIds", [[0, 1, 18], [13, 13, VOID]]))

    assert data.read(data.samples[0])[1].tolist() == [[0, 1, 18], [13, 13, VOID]]
    assert data.classes is not None
    assert (len(data.classes), data.classes[13]) == (19, "car")


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    # Road, sidewalk and bicycle; car, caravan (not evaluated) and the ego vehicle.
    data = open_data(write_cityscapes(tmp_path, "labelIds", [[7, 8, 33], [26, 29, 1]]))

    assert data.read(data.samples[0])[1].tolist() == [[0, 1, 18], [13, VOID, VOID]]


def test_an_unrecognised_folder_is_refused_with_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)JPEGImages/ID.jpg.*leftImg8bit/SPLIT.*images/ and masks/"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [("JPEGImages SegmentationClass", "names no images"), ("leftImg8bit gtFine", "no folder for")],
)
def test_an_empty_data_set_is_refused(tmp_path: Path, folders: str, message: str) -> None:
    for folder in folders.split():
        (tmp_path / folder).mkdir()

    with pytest.raises(DataError, match=message):
        open_data(tmp_path)


def test_one_of_several_splits_must_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the splits train, val"):
        open_data(write_voc(tmp_path, train="a", val="b"))


def test_an_unknown_split_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'vall', did you mean 'val'"):
        open_data(write_voc(tmp_path, val="b"), "vall")


def test_all_missing_files_are_listed_before_any_is_read(tmp_path: Path) -> None:
    root = write_plain(tmp_path, "one", "two", "three")
    (root / "images" / "three.jpg").write_bytes(b"not an image")
    for name in ("one", "two"):
        (root / "masks" / f"{name}.png").unlink()

    with pytest.raises(DataError, match=r"2 of 3 images have no mask of the same name: one, two\."):
        open_data(root)
    (root / "val.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(DataError, match=r"(?s)2 of its images and masks are missing.*one\.png.*two\.png"):
        open_data(root)


def test_images_that_differ_only_in_their_suffix_are_refused(tmp_path: Path) -> None:
    write_photo(write_plain(tmp_path, "one") / "images" / "one.png")

    with pytest.raises(DataError, match=r"one\.jpg and one\.png have the same name"):
        open_data(tmp_path)


def test_a_subset_has_the_requested_order(tmp_path: Path) -> None:
    data = open_data(write_plain(tmp_path, "one", "three", "two"))

    assert [sample.name for sample in data.subset(["two", data.samples[0]]).samples] == ["two", "one"]


def test_a_subset_of_unknown_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no sample 'four'"):
        open_data(write_plain(tmp_path, "one")).subset(["four"])


def test_samples_can_be_excluded_by_name(tmp_path: Path) -> None:
    data = open_data(write_plain(tmp_path, "one", "three", "two"))

    assert [sample.name for sample in data.without(["three"]).samples] == ["one", "two"]


def test_excluding_unknown_samples_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    data = open_data(write_plain(tmp_path, "one", "three", "two"))

    with pytest.raises(DataError, match=r"has no sample 'tree' \(did you mean 'three'\?\), 'nothing'$"):
        data.without(["tree", "one", "nothing"])


def test_a_long_list_of_unknown_samples_is_truncated_with_a_count(tmp_path: Path) -> None:
    data = open_data(write_plain(tmp_path, "one"))

    with pytest.raises(DataError, match=r"'7' and 92 more$"):
        data.without([str(number) for number in range(100)])


def test_a_check_counts_pixels_and_images_by_class(tmp_path: Path) -> None:
    root = write_plain(tmp_path, "one", "two")
    write_mask(root / "masks" / "two.png", [[0, 0, 0], [0, 0, 2]])

    summary = check(open_data(root), 4, show_progress=False)

    assert summary.pixels == (6, 1, 4, 0)
    assert summary.images == (2, 1, 2, 0)
    assert summary.void_pixels == 1
    assert summary.present == {"one": {0, 1, 2}, "two": {0, 2}}
    assert summary.absent_classes == (3,)


def _smaller_mask(root: Path) -> None:
    write_mask(root / "masks" / "bad.png", [[0]])


def _index_too_high(root: Path) -> None:
    write_mask(root / "masks" / "bad.png", [[0, 3, 200], [0, 0, VOID]])


def _colour_mask(root: Path) -> None:
    colours = np.array([[[0, 0, 0], [128, 0, 0], [0, 0, 0]]] * 2, np.uint8)
    Image.fromarray(colours).save(root / "masks" / "bad.png")


def _jpeg_mask(root: Path) -> None:
    (root / "masks" / "bad.png").unlink()
    write_mask(root / "masks" / "bad.jpg")


def _broken_mask(root: Path) -> None:
    (root / "masks" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def _broken_image(root: Path) -> None:
    (root / "images" / "bad.jpg").write_bytes(b"not an image")


def _turned_image(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = UPSIDE_DOWN
    write_photo(root / "images" / "bad.jpg", exif=exif)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_smaller_mask, r"bad\.png: has 1×1 pixels for bad\.jpg, which has 3×2"),
        (_index_too_high, r"bad\.png: holds index 3 \(1 pixel\), 200 \(1 pixel\); must be 0 to 2, or 255 for void"),
        (_colour_mask, r"bad\.png: holds colours \(0 0 0 in 4 pixels, 128 0 0 in 2 pixels\); to say .* write colors\.txt"),
        (_jpeg_mask, r"bad\.jpg: a mask cannot be a JPEG"),
        (_broken_mask, r"bad\.png: cannot be read"),
        (_broken_image, r"bad\.jpg: the 12 bytes sent are not an image"),
        (_turned_image, r"bad\.jpg has EXIF orientation 3, its mask .*bad\.png has 1"),
    ],
)
def test_an_invalid_pair_is_reported_with_the_reason(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(write_plain(tmp_path, "bad", "good"))

    with pytest.raises(DataError, match=message):
        check(open_data(tmp_path), 3, show_progress=False)


def test_all_invalid_pairs_are_reported_at_once(tmp_path: Path) -> None:
    root = write_plain(tmp_path, "one", "two", "good")
    for name in ("one", "two"):
        write_mask(root / "masks" / f"{name}.png", [[9, 9, 9], [9, 9, 9]])

    with pytest.raises(DataError, match=r"(?s)2 of 3 pairs cannot be used.*one\.png.*two\.png") as caught:
        check(open_data(root), 3, show_progress=False)

    assert "good" not in str(caught.value)


def test_image_and_mask_with_the_same_orientation_are_both_turned_upright(tmp_path: Path) -> None:
    root = write_plain(tmp_path, "one")
    exif = Image.Exif()
    exif[0x0112] = UPSIDE_DOWN
    write_photo(root / "images" / "one.jpg", exif=exif)
    write_mask(root / "masks" / "one.png", exif=exif)

    data = open_data(root)

    assert data.read(data.samples[0])[1].tolist() == [[VOID, 2, 2], [2, 1, 0]]
