"""Data sets as annotation tools export them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.datasets import VOID, DataError, DataSource, check, open_data, splits
from tests.support import noise
from tests.unit.scripts.datasets.support import only_mask, write_image, write_pairs

COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
MASK = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
VOC = ("JPEGImages", "SegmentationClass")


def write_cvat(root: Path, image_list: str = "a\nfolder/b c\n") -> Path:
    """Write CVAT's export "Segmentation mask 1.1", with images."""
    write_pairs(root, {"a": COLOURS[MASK], "folder/b c": COLOURS[MASK]}, folders=VOC, names=None)
    write_pairs(root, {"a": COLOURS[MASK]}, folders=("JPEGImages", "SegmentationObject"), names=None)
    (root / "labelmap.txt").write_text(LABELMAP)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text(image_list)
    return root


def test_cvats_export_is_read_unchanged(tmp_path: Path) -> None:
    data = open_data(write_cvat(tmp_path))

    assert splits(tmp_path) == ("default",)
    assert (data.layout, data.classes) == ("VOC", ("background", "cat", "dog"))
    assert [sample.name for sample in data.samples] == ["a", "folder/b c"]
    assert check(data, 3, show_progress=False).pixels == (4, 4, 4)


def test_cvats_export_without_images_accepts_a_folder_of_images(tmp_path: Path) -> None:
    root = write_cvat(tmp_path / "export")
    (root / "JPEGImages").rename(tmp_path / "photographs")

    with pytest.raises(DataError, match=r"no photographs in .*/JPEGImages; put them there .* folder with --images"):
        open_data(root)
    data = open_data(DataSource(folder=root, images=tmp_path / "photographs"))
    assert check(data, 3, show_progress=False).pixels == (4, 4, 4)


def test_images_of_any_suffix_are_paired_with_their_masks(tmp_path: Path) -> None:
    root = write_cvat(tmp_path, '"a"\n')
    (root / "JPEGImages" / "a.jpg").unlink()
    write_image(root / "JPEGImages" / "a.PNG", noise(2, 3))

    assert only_mask(open_data(root)) == MASK.tolist()


def test_images_without_a_mask_from_cvat_are_background(tmp_path: Path) -> None:
    root = write_cvat(tmp_path, "a\nempty\n")
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(root / "JPEGImages" / "empty.jpg", noise(2, 3), exif=exif)

    data = open_data(root, classes=("cat", "dog", "background"))

    image, mask = data.read(data.samples[1])
    assert image.shape[:2] == mask.shape == (3, 2)
    assert (mask == 2).all()
    assert (data.read_mask(data.samples[1]) == mask).all()
    assert data.notes == (
        f"{root}/ImageSets/Segmentation/default.txt: 1 of 2 images have no mask and count as background: CVAT writes none "
        "without annotations: empty",
    )
    with pytest.raises(DataError, match="1 images have no mask, and no class is background: empty"):
        open_data(root, classes=("cat", "dog", "road"))


def test_a_list_without_any_mask_is_refused(tmp_path: Path) -> None:
    root = write_cvat(tmp_path, "one\ntwo\n")
    for name in ("one", "two"):
        write_image(root / "JPEGImages" / f"{name}.jpg", noise(2, 3))

    with pytest.raises(DataError, match=r"(?s)2 of its images and masks are missing.*one\.png"):
        open_data(root)


@pytest.mark.parametrize("folder", ["SegmentationClassPNG", "SegmentationClass"])
def test_labelmes_export_is_read_without_lists(tmp_path: Path, folder: str) -> None:
    mask = np.array([[0, 1, 2], [VOID, 1, 0]], np.uint8)
    write_pairs(tmp_path, {"b": mask, "a": mask}, folders=("JPEGImages", folder), names=None)
    (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
    np.save(tmp_path / "SegmentationClass" / "a.npy", mask)
    write_image(tmp_path / "SegmentationClassVisualization" / "a.jpg", noise(2, 3))
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\ncat\ndog")

    data = open_data(tmp_path)

    assert splits(tmp_path) == ()
    assert data.classes == ("background", "cat", "dog")
    assert [sample.name for sample in data.samples] == ["a", "b"]
    assert data.read(data.samples[0])[1].tolist() == mask.tolist()


def test_unpaired_images_and_masks_are_counted_in_one_error(tmp_path: Path) -> None:
    masks = {f"{number:02}": MASK for number in range(12)}
    write_pairs(tmp_path, masks, folders=VOC)
    for number in range(10):
        (tmp_path / "SegmentationClass" / f"{number:02}.png").unlink()
    (tmp_path / "JPEGImages" / "11.jpg").unlink()

    with pytest.raises(DataError) as caught:
        open_data(tmp_path)

    assert "10 of 11 images have no mask of the same name: 00, 01, 02, 03, 04, 05, 06, 07 and 2 more" in str(caught.value)
    assert "1 of 2 masks have no image of the same name: 11" in str(caught.value)


def test_many_invalid_pairs_are_counted_and_the_first_are_listed(tmp_path: Path) -> None:
    write_pairs(tmp_path, {f"{number:02}": MASK + 7 for number in range(30)})

    with pytest.raises(DataError, match=r"30 of 30 pairs cannot be used") as caught:
        check(open_data(tmp_path), 3, show_progress=False)

    assert "19.png" in str(caught.value)
    assert "20.png" not in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_plain_folders_may_contain_folders_and_other_files(tmp_path: Path) -> None:
    write_pairs(tmp_path, {"north/a": MASK, "south/a": MASK})
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"-")
    (tmp_path / "masks" / ".cache").mkdir()
    write_image(tmp_path / "masks" / ".cache" / "x.png", MASK)
    assert [sample.name for sample in open_data(tmp_path).samples] == ["north/a", "south/a"]

    (tmp_path / "val.txt").write_bytes("\ufeffsouth/a.jpg\r\n\r\n".encode("utf-16-le"))
    assert [sample.name for sample in open_data(tmp_path).samples] == ["south/a"]


def test_a_zip_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"export\.zip: is an archive; unpack it and give the folder"):
        open_data(tmp_path / "export.zip")


def test_a_yaml_file_describes_a_folder(tmp_path: Path) -> None:
    write_pairs(tmp_path / "roofs", {"a": np.array([[0, 255]], np.uint8)}, folders=("photographs", "masks"))
    path = tmp_path / "roofs.yaml"
    path.write_text("folder: roofs\nlayout: Plain\nimages: photographs\nmask_values: {255: cat}\n")

    assert only_mask(open_data(path)) == [[0, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folders: roofs", "unknown key 'folders', did you mean 'folder'"),
        ("mask_values: {roof: 255}", "'mask_values.roof"),
        ("layout: cocoa", r"layout 'cocoa': is unknown, did you mean 'coco'\? \(known: voc, cityscapes, plain, coco\)"),
    ],
)
def test_an_invalid_key_or_value_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)

    with pytest.raises((ValueError, DataError), match=message):
        open_data(tmp_path / "a.yaml")
