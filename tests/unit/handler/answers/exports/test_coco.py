import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from pycocotools.coco import COCO

from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import (
    OPTIONS,
    RING,
    answer,
    assert_masks,
    encode_as,
    segmentation,
    segmentations,
)


def load(body: bytes) -> COCO:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "annotations.json"
        file.write_bytes(body)
        return COCO(file)


def test_categories_are_all_classes_except_background() -> None:
    coco = load(encode_as("coco", segmentation(RING, classes=4)))

    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert names == {1: "class 1", 2: "class 2", 3: "class 3"}


def test_categories_are_the_requested_classes() -> None:
    assert [category["id"] for category in answer("coco", segmentation(RING), AnswerOptions(classes=(0, 2)))["categories"]] == [
        2
    ]


def test_an_annotation_has_the_size_and_score_of_its_segment() -> None:
    coco = load(encode_as("coco", segmentation(RING)))

    [annotation] = coco.loadAnns(coco.getAnnIds(catIds=[2]))
    assert (annotation["area"], annotation["bbox"], annotation["iscrowd"], annotation["score"]) == (1, [2, 1, 1, 1], 0, 0.5)
    assert coco.loadImgs(annotation["image_id"]) == [{"id": 1, "file_name": "image", "height": 4, "width": 4}]


@given(segmentations(), OPTIONS)
def test_pycocotools_reads_the_masks_back(result: Segmentation, options: AnswerOptions) -> None:
    coco = load(encode_as("coco", result, options))

    annotations = coco.loadAnns(coco.getAnnIds())
    masks = [(coco.cats[item["category_id"]]["name"], coco.annToMask(item).astype(bool)) for item in annotations]
    assert_masks(masks, result, options)


def test_the_annotations_load_as_results() -> None:
    body = encode_as("coco", segmentation(RING))
    truth = load(body)

    results = truth.loadRes(truth.loadAnns(truth.getAnnIds()))

    for annotation_id in truth.getAnnIds():
        np.testing.assert_array_equal(
            results.annToMask(results.anns[annotation_id]), truth.annToMask(truth.anns[annotation_id])
        )
        assert results.anns[annotation_id]["bbox"] == pytest.approx(truth.anns[annotation_id]["bbox"])


def test_the_image_has_the_requested_name() -> None:
    coco = load(encode_as("coco", segmentation(RING), AnswerOptions(image_name="trip/Grüße 猫.jpg")))

    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["trip/Grüße 猫.jpg"]
