import pytest
from hypothesis import given

from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import OPTIONS, RING, answer, assert_masks, segmentation, segmentations

masks = pytest.importorskip("cvat_sdk.masks")
models = pytest.importorskip("cvat_sdk.models")


def test_a_shape_is_what_the_sdk_encodes() -> None:
    result = segmentation(RING)

    shapes = answer("cvat", result)["shapes"]

    assert [(shape["label"], shape["points"]) for shape in shapes] == [
        (f"class {index}", masks.encode_mask(result.label_map == index)) for index in (1, 2)
    ]


def test_the_sdk_accepts_a_shape_once_its_label_has_an_id() -> None:
    ids = {"class 1": 71, "class 2": 72}

    shapes = answer("cvat", segmentation(RING))["shapes"]

    requests = [models.LabeledShapeRequest(label_id=ids[shape.pop("label")], **shape) for shape in shapes]
    assert [(str(request.type), request.label_id, request.score) for request in requests] == [
        ("mask", 71, 0.5),
        ("mask", 72, 0.5),
    ]
    assert models.LabeledDataRequest(shapes=requests).shapes == requests


@given(segmentations(), OPTIONS)
def test_the_sdk_decodes_the_masks(result: Segmentation, options: AnswerOptions) -> None:
    file = answer("cvat", result, options)

    size = {"image_width": file["image"]["width"], "image_height": file["image"]["height"]}
    shapes = [(shape["label"], masks.decode_mask(shape["points"], **size)) for shape in file["shapes"]]
    assert_masks(shapes, result, options)
