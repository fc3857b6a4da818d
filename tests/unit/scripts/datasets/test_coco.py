"""Data sets in COCO's JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from scripts.datasets import VOID, DataError, DataSource, check, open_data, splits
from scripts.datasets.coco_annotations import decode, encode
from tests.support import noise
from tests.unit.scripts.datasets.support import only_mask, write_image

HEIGHT, WIDTH = 6, 8
#: Ids have gaps and are not in the order of the names.
CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog", "supercategory": "animal"}]


def box(x: int, y: int, width: int, height: int) -> list[list[float]]:
    """Return a rectangle of whole pixels as a polygon."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def compressed(mask: npt.NDArray[np.uint8]) -> dict[str, Any]:
    lengths = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": lengths["counts"].decode()}


def uncompressed(mask: npt.NDArray[np.uint8]) -> dict[str, Any]:
    columns = mask.T.ravel()
    edges = np.flatnonzero(np.diff(columns)) + 1
    counts = np.diff([0, *edges, columns.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if columns[0] else counts}


def content(*annotations: dict[str, Any], file_name: str = "a.jpg", **changes: Any) -> dict[str, Any]:
    """Return an annotation file of one image."""
    numbered = [{"id": number, "image_id": 5, "iscrowd": 0} | annotation for number, annotation in enumerate(annotations, 1)]
    image = {"id": 5, "file_name": file_name, "height": HEIGHT, "width": WIDTH}
    return {"images": [image], "annotations": numbered, "categories": CATEGORIES} | changes


def write_coco(root: Path, file: dict[str, Any], path: str = "annotations.json", images: str = "images") -> Path:
    for image in file["images"]:
        write_image(root / images / image["file_name"].replace("\\", "/"), noise(HEIGHT, WIDTH))
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(file))
    return root


def expected_mask(*rectangles: tuple[int, tuple[int, int, int, int]]) -> list[list[int]]:
    """Draw (index, (x, y, width, height)) in order."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index, (x, y, width, height) in rectangles:
        mask[y : y + height, x : x + width] = index
    return mask.tolist()


def test_categories_become_classes_by_id_after_background(tmp_path: Path) -> None:
    annotations = [{"category_id": 7, "segmentation": box(1, 1, 2, 2)}, {"category_id": 3, "segmentation": box(4, 1, 2, 3)}]

    data = open_data(write_coco(tmp_path, content(*annotations)))

    assert (data.layout, data.classes) == ("COCO", ("background", "dog", "cat"))
    assert only_mask(data) == expected_mask((2, (1, 1, 2, 2)), (1, (4, 1, 2, 3)))


@pytest.mark.parametrize("encoding", [compressed, uncompressed])
def test_run_lengths_become_masks(tmp_path: Path, encoding: Callable[[npt.NDArray[np.uint8]], dict[str, Any]]) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), np.uint8)

    data = open_data(write_coco(tmp_path, content({"category_id": 3, "segmentation": encoding(mask)})))

    assert only_mask(data) == mask.tolist()


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_run_lengths_decode_as_with_pycocotools(mask: npt.NDArray[np.uint8]) -> None:
    for encoding in (compressed, uncompressed):
        counts = encode(encoding(mask), *mask.shape)
        numbers = decode(counts)

        assert coco_mask.decode({"size": mask.shape, "counts": counts}).tolist() == mask.tolist()
        assert np.repeat(np.arange(len(numbers)) % 2, numbers).tolist() == mask.T.ravel().tolist()


@given(st.lists(st.tuples(st.floats(-3, 40), st.floats(-3, 40)), min_size=3, max_size=8))
def test_polygons_cover_the_same_pixels_as_with_pycocotools(points: list[tuple[float, float]]) -> None:
    polygon = [coordinate for point in points for coordinate in point]
    numbers = decode(encode([polygon], 20, 30))

    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 20, 30)))
    assert (expected == np.repeat(np.arange(len(numbers)) % 2, numbers).reshape(30, 20).T).all()


def test_large_runs_are_decoded() -> None:
    mask = np.zeros((5000, 3000), np.uint8)
    mask[4000:, 1500] = mask[:7, 2999] = 1

    numbers = decode(encode(compressed(mask), *mask.shape))

    assert numbers.sum() == mask.size
    assert numbers[1::2].tolist() == [1000, 7]


def test_masks_equal_those_of_pycocotools_reader(tmp_path: Path) -> None:
    shapes = [
        [[0.4, 0.7, 5.2, 1.1, 3.3, 4.9]],
        box(2, 2, 3, 3) + box(6, 0, 1, 1),
        compressed(np.eye(HEIGHT, WIDTH, dtype=np.uint8)),
    ]
    for number, shape in enumerate(shapes):
        root = write_coco(tmp_path / str(number), content({"category_id": 3, "segmentation": shape}))
        reader = COCO(root / "annotations.json")
        (annotation,) = reader.loadAnns(reader.getAnnIds())

        assert only_mask(open_data(root)) == reader.annToMask(annotation).tolist()


def test_smaller_annotations_lie_on_top_and_the_later_of_equal_ones(tmp_path: Path) -> None:
    small, large = box(2, 2, 2, 2), box(1, 1, 5, 4)
    for number, order in enumerate([(small, large), (large, small)]):
        annotations = [{"category_id": 7 if shape is small else 3, "segmentation": shape} for shape in order]
        data = open_data(write_coco(tmp_path / str(number), content(*annotations)))
        assert only_mask(data) == expected_mask((1, (1, 1, 5, 4)), (2, (2, 2, 2, 2)))

    equal = [{"category_id": category, "segmentation": small} for category in (3, 7)]
    assert only_mask(open_data(write_coco(tmp_path / "equal", content(*equal)))) == expected_mask((2, (2, 2, 2, 2)))


def test_crowds_are_void_below_everything_else(tmp_path: Path) -> None:
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[:3] = 1
    annotations = [
        {"category_id": 7, "segmentation": box(0, 0, 8, 2)},
        {"category_id": 3, "segmentation": uncompressed(crowd), "iscrowd": 1},
    ]

    assert only_mask(open_data(write_coco(tmp_path, content(*annotations)))) == expected_mask(
        (VOID, (0, 0, 8, 3)), (2, (0, 0, 8, 2))
    )


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    data = open_data(write_coco(tmp_path, content()))

    assert only_mask(data) == expected_mask()
    assert only_mask(open_data(tmp_path, classes=("cat", "background", "dog"))) == (np.array(expected_mask()) + 1).tolist()


def test_a_category_of_background_is_class_0(tmp_path: Path) -> None:
    categories = [{"id": 4, "name": "_background_"}, {"id": 9, "name": "roof"}]
    annotations = [{"category_id": 9, "segmentation": box(0, 0, 6, 6)}, {"category_id": 4, "segmentation": box(1, 1, 2, 2)}]

    data = open_data(write_coco(tmp_path, content(*annotations, categories=categories)))

    assert data.classes == ("background", "roof")
    assert only_mask(data) == expected_mask((1, (0, 0, 6, 6)), (0, (1, 1, 2, 2)))


def test_an_unused_category_that_groups_others_is_not_a_class(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "roofs", "supercategory": "none"}, {"id": 1, "name": "roof", "supercategory": "roofs"}]

    assert open_data(write_coco(tmp_path, content(categories=categories))).classes == ("background", "roof")


@pytest.mark.parametrize(
    ("path", "images", "split"),
    [
        ("annotations/instances_val2017.json", "val2017", "val2017"),
        ("annotations/instances_default.json", "images/default", "default"),
        ("annotations/instances_default.json", "images", "default"),
        ("annotations/train.json", "images/train", "train"),
        ("train/_annotations.coco.json", "train", "train"),
        ("result.json", "images", "result"),
        ("val.json", "", "val"),
    ],
)
def test_the_layouts_of_several_tools_are_recognised(tmp_path: Path, path: str, images: str, split: str) -> None:
    annotation = {"category_id": 3, "segmentation": box(1, 1, 2, 2)}
    write_coco(tmp_path, content(annotation, file_name="deep/er/a.jpg"), path, images)
    (tmp_path / "classes.json").write_text('["background", "dog", "cat"]')

    assert splits(tmp_path) == (split,)
    for data in (open_data(tmp_path), open_data(tmp_path / path)):
        assert [sample.name for sample in data.samples] == ["deep/er/a"]
        assert only_mask(data) == expected_mask((1, (1, 1, 2, 2)))


def test_annotations_of_other_tasks_are_not_splits(tmp_path: Path) -> None:
    write_coco(tmp_path, content(), "annotations/instances_val2017.json", "val2017")
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")

    assert splits(tmp_path) == ("val2017",)


def test_paths_of_annotations_and_images_can_be_given(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(tmp_path, content(file_name=f"{split}.jpg"), f"labels/{split}.json", "photographs")
    source = DataSource.model_validate(
        {
            "folder": tmp_path,
            "layout": "COCO",
            "annotations": {"train": "labels/train.json", "val": "labels/val.json"},
            "images": "photographs",
        }
    )

    assert splits(source) == ("train", "val")
    assert [sample.name for sample in open_data(source, "val").samples] == ["val"]


@pytest.mark.parametrize("file_name", ["images\\a.jpg", "/data/upload/1/a.jpg", "https://host/x/a.jpg", "../../media/a.jpg"])
def test_images_are_found_despite_paths_of_another_machine(tmp_path: Path, file_name: str) -> None:
    write_image(tmp_path / "images" / "a.jpg", noise(HEIGHT, WIDTH))
    (tmp_path / "result.json").write_text(json.dumps(content(file_name=file_name)))

    assert only_mask(open_data(tmp_path)) == expected_mask()


def test_images_that_differ_in_their_suffix_keep_it(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": name} for number, name in enumerate(("a.jpg", "a.png"))]

    assert [sample.name for sample in open_data(write_coco(tmp_path, content(images=images))).samples] == ["a.jpg", "a.png"]


def test_the_size_may_be_omitted(tmp_path: Path) -> None:
    annotation = {"category_id": 3, "image_id": 0, "segmentation": box(1, 1, 2, 2)}
    root = write_coco(tmp_path, content(annotation, images=[{"id": 0, "file_name": "a.jpg"}]))

    assert only_mask(open_data(root)) == expected_mask((1, (1, 1, 2, 2)))


def test_annotations_apply_to_the_upright_image(tmp_path: Path) -> None:
    root = write_coco(tmp_path, content({"category_id": 3, "segmentation": box(1, 1, 2, 2)}))
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(root / "images" / "a.jpg", noise(WIDTH, HEIGHT), exif=exif)
    assert only_mask(open_data(root)) == expected_mask((1, (1, 1, 2, 2)))

    write_image(root / "images" / "a.jpg", noise(HEIGHT, WIDTH), exif=exif)
    with pytest.raises(DataError, match=r"annotations\.json: has 8×6 pixels for a\.jpg, which has 6×8"):
        check(open_data(root), 3, show_progress=False)


def test_points_and_lines_cover_nothing(tmp_path: Path) -> None:
    shape = [[1.0, 1.0, 5.0, 5.0], *box(1, 1, 2, 2)]

    assert only_mask(open_data(write_coco(tmp_path, content({"category_id": 3, "segmentation": shape})))) == expected_mask(
        (1, (1, 1, 2, 2))
    )


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "has no segmentation; boxes alone do not say"),
        (None, "has no segmentation; boxes alone do not say"),
        ([[1, 1, 5, 5]], "has no polygon of three points or more"),
        ([[1, 1, 5, 5, 3, 3, 2]], "has a polygon of 7 values"),
        ([[1, 1, 5, 5, 3, None]], "has a polygon of 6 values"),
        ({"size": [6, 7], "counts": "0"}, r"is for \(height, width\) \(6, 7\), its image has \(6, 8\)"),
        ({"size": [6, 8], "counts": [3, 4]}, "has run lengths that cover 7 pixels, its image has 48"),
        ({"size": [6, 8], "counts": "o"}, "has compressed run lengths that are cut off"),
        ({"counts": [48]}, "'size'"),
    ],
)
def test_invalid_segmentations_are_counted(tmp_path: Path, segmentation: Any, message: str) -> None:
    good, bad = box(1, 1, 2, 2), segmentation
    root = write_coco(tmp_path, content(*({"category_id": 3, "segmentation": shape} for shape in (good, bad, bad))))

    with pytest.raises(DataError, match=rf"(?s)2 of 3 annotations cannot be drawn:\n  annotation 2 of a\.jpg: {message}"):
        open_data(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"categories": [{"id": 3, "name": "dog"}]},
            "1 of 1 annotations have an id that is not in the file, such as category_id 7",
        ),
        ({"images": [{"id": 6, "file_name": "a.jpg"}]}, "not in the file, such as image_id 5"),
        ({"images": []}, "such as image_id 5"),
        ({"images": [{"id": 5}]}, "has no 'file_name'"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 8, "name": "a"}]}, "several categories are named a"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "ids of images or categories occur more than once"),
        ({"categories": None}, "is not COCO's JSON, with the lists images, annotations, categories"),
    ],
)
def test_an_inconsistent_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_image(tmp_path / "images" / "a.jpg", noise(HEIGHT, WIDTH))
    file = content({"category_id": 7, "segmentation": box(1, 1, 2, 2)}) | changes
    (tmp_path / "annotations.json").write_text(json.dumps(file))

    with pytest.raises(DataError, match=message):
        open_data(tmp_path / "annotations.json")


def test_a_missing_or_invalid_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text("{")

    with pytest.raises(DataError, match=r"annotations\.json: is not COCO's JSON"):
        open_data(tmp_path / "annotations.json")
    with pytest.raises(DataError, match=r"nothing\.json: No such file"):
        open_data(tmp_path / "nothing.json")


def test_missing_images_are_counted(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(4)]
    root = write_coco(tmp_path, content(images=images))
    (root / "images" / "2.jpg").unlink()

    with pytest.raises(DataError, match=r"(?s)1 of 4 images are missing:\n.*2\.jpg"):
        open_data(root)
    (root / "images").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"its images, such as 0\.jpg, are in none of the folders .*; name their folder"):
        open_data(root)
    with pytest.raises(DataError, match=r"1 of 4 images are missing"):
        open_data(DataSource(folder=root, images=Path("elsewhere")))


def test_a_used_category_that_is_not_a_class_is_refused(tmp_path: Path) -> None:
    root = write_coco(tmp_path, content({"category_id": 7, "segmentation": box(1, 1, 2, 2)}))

    assert only_mask(open_data(root, classes=("background", "Cat"))) == expected_mask((1, (1, 1, 2, 2)))
    with pytest.raises(DataError, match=r"the categories 'cat' \(1 annotations\) are none of the classes background, dog"):
        open_data(root, classes=("background", "dog"))
    with pytest.raises(DataError, match="pixels without annotation are background, which is none of the classes cat, dog"):
        open_data(root, classes=("cat", "dog"))
