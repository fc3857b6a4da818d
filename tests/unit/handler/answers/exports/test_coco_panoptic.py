import io
import json
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from PIL import Image

from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import OPTIONS, RING, assert_masks, encode_as, segmentation, segmentations


def unpack(body: bytes) -> tuple[dict[str, Any], npt.NDArray[np.uint32]]:
    """Return the JSON, and the ids from the formula of panopticapi's `rgb2id`."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        annotations = json.loads(archive.read("annotations.json"))
        picture = Image.open(io.BytesIO(archive.read("panoptic/" + annotations["annotations"][0]["file_name"])))
    assert picture.mode == "RGB"
    colour = np.asarray(picture).astype(np.uint32)
    return annotations, colour[:, :, 0] + 256 * colour[:, :, 1] + 256 * 256 * colour[:, :, 2]


def test_a_segment_has_an_id_a_category_and_a_size() -> None:
    annotations, ids = unpack(encode_as("coco_panoptic", segmentation(RING)))

    assert annotations["annotations"] == [
        {
            "image_id": 1,
            "file_name": "image.png",
            "segments_info": [
                {"id": 1, "category_id": 1, "area": 11, "bbox": [0, 0, 4, 4], "iscrowd": 0},
                {"id": 2, "category_id": 2, "area": 1, "bbox": [2, 1, 1, 1], "iscrowd": 0},
            ],
        }
    ]
    assert ids.tolist() == [[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1], [0, 0, 0, 1]]


def test_classes_are_stuff_and_components_are_things() -> None:
    for components in (False, True):
        annotations, _ = unpack(encode_as("coco_panoptic", segmentation(RING), AnswerOptions(components=components)))

        assert [(item["name"], item["isthing"], item["color"]) for item in annotations["categories"]] == [
            ("class 1", int(components), [128, 0, 0]),
            ("class 2", int(components), [0, 128, 0]),
        ]


def test_equal_answers_are_equal_bytes() -> None:
    assert encode_as("coco_panoptic", segmentation(RING)) == encode_as("coco_panoptic", segmentation(RING))


@given(segmentations(), OPTIONS)
def test_the_picture_holds_the_masks(result: Segmentation, options: AnswerOptions) -> None:
    annotations, ids = unpack(encode_as("coco_panoptic", result, options))

    names = {category["id"]: category["name"] for category in annotations["categories"]}
    segments = annotations["annotations"][0]["segments_info"]
    assert_masks([(names[segment["category_id"]], ids == segment["id"]) for segment in segments], result, options)
    assert [segment["area"] for segment in segments] == [int((ids == segment["id"]).sum()) for segment in segments]


def test_ids_above_255_use_the_second_channel() -> None:
    rows = np.arange(600).reshape(20, 30) % 2 + 1
    rows[1::2] = 3 - rows[1::2]

    annotations, ids = unpack(encode_as("coco_panoptic", segmentation(rows), AnswerOptions(components=True)))

    assert len(annotations["annotations"][0]["segments_info"]) == 600
    assert set(ids.ravel().tolist()) == set(range(1, 601))


@pytest.mark.parametrize(
    ("image_name", "png_name"),
    [
        ("Grüße 猫.jpg", "Grüße 猫.png"),
        ("a/b.tar.gz", "b.tar.png"),
        ("../../etc/x", "x.png"),
        (r"..\up.png", "up.png"),
        (".jpg", ".jpg.png"),
    ],
)
def test_the_picture_is_named_like_the_image_and_stays_in_its_folder(image_name: str, png_name: str) -> None:
    annotations, _ = unpack(encode_as("coco_panoptic", segmentation(RING), AnswerOptions(image_name=image_name)))

    assert annotations["images"][0]["file_name"] == image_name
    assert annotations["annotations"][0]["file_name"] == png_name
