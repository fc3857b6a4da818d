import logging
from typing import Any

import pytest
from hypothesis import given

from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import OPTIONS, RING, answer, assert_masks, segmentation, segmentations

masks = pytest.importorskip("cvat_sdk.masks")
models = pytest.importorskip("cvat_sdk.models")
auto_annotation = pytest.importorskip("cvat_sdk.auto_annotation")
driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")


def remap(file: dict[str, Any], frame: int) -> tuple[Any, dict[int, str]]:
    """Pass the unchanged answer through the SDK's validator; return the shapes for a task, and its labels by id."""
    spec = auto_annotation.DetectionFunctionSpec(labels=[auto_annotation.label_spec(**label) for label in file["labels"]])
    task_labels = {900 - index: label["name"] for index, label in enumerate(file["labels"])}
    mapper = driver._AnnotationMapper(
        logging.getLogger(__name__),
        spec.labels,
        [
            models.Label(name=name, id=label_id, type="mask", attributes=[], sublabels=[])
            for label_id, name in task_labels.items()
        ],
        allow_unmatched_labels=False,
        conv_mask_to_poly=False,
    )
    tags, shapes = mapper.validate_and_remap([models.LabeledShapeRequest(**shape) for shape in file["shapes"]], frame)
    assert tags == []
    return shapes, task_labels


def test_shapes_equal_the_sdks_encoding() -> None:
    result = segmentation(RING)

    shapes = answer("cvat", result)["shapes"]

    assert [(shape["label_id"], shape["label"], shape["points"]) for shape in shapes] == [
        (index, f"class {index}", masks.encode_mask(result.label_map == index)) for index in (1, 2)
    ]


def test_labels_list_every_reported_class_except_background() -> None:
    result = segmentation(RING, classes=4)

    assert answer("cvat", result)["labels"] == [
        {"name": "class 1", "id": 1, "color": "#800000", "type": "mask"},
        {"name": "class 2", "id": 2, "color": "#008000", "type": "mask"},
        {"name": "class 3", "id": 3, "color": "#808000", "type": "mask"},
    ]
    assert [label["id"] for label in answer("cvat", result, AnswerOptions(classes=(0, 3)))["labels"]] == [3]


@given(segmentations(), OPTIONS)
def test_the_sdk_accepts_the_answer_unchanged_and_decodes_the_masks(result: Segmentation, options: AnswerOptions) -> None:
    file = answer("cvat", result, options)

    shapes, task_labels = remap(file, frame=7)

    assert all((shape.frame, shape.source, str(shape.type)) == (7, "auto", "mask") for shape in shapes)
    assert models.LabeledDataRequest(shapes=shapes).shapes == shapes
    size = {"image_width": file["image"]["width"], "image_height": file["image"]["height"]}
    decoded = [(task_labels[shape.label_id], masks.decode_mask(list(map(int, shape.points)), **size)) for shape in shapes]
    assert_masks(decoded, result, options)
