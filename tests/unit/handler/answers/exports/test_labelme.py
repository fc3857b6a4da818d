import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import (
    OPTIONS,
    RING,
    Mask,
    answer,
    assert_masks,
    encode_as,
    segmentation,
    segmentations,
)

# Labelme imports Qt, which needs desktop libraries.
labelme = pytest.importorskip("labelme", exc_type=ImportError)

PHOTO = "Grüße 1.png"


def load(body: bytes, result: Segmentation) -> Any:
    """Open the file in Labelme, beside its image, `PHOTO`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.json"
        file.write_bytes(body)
        Image.fromarray(result.label_map).convert("L").save(Path(folder) / PHOTO)
        return labelme.LabelFile(str(file))


def draw_masks(body: bytes, result: Segmentation) -> list[tuple[str, Mask]]:
    """Return the mask that Labelme draws for each group."""
    shapes = load(body, result).shapes
    labels = {shape["group_id"]: shape["label"] for shape in shapes}
    _, instances = labelme.utils.shapes_to_label(result.label_map.shape, shapes, dict.fromkeys(labels.values(), 1))
    return [(name, instances == group_id) for group_id, name in enumerate(labels.values(), start=1)]


def test_parts_with_holes_are_masks_and_others_polygons() -> None:
    shapes = load(encode_as("labelme", segmentation(RING), AnswerOptions(image_name=PHOTO)), segmentation(RING)).shapes

    assert [(shape["label"], shape["group_id"], shape["shape_type"]) for shape in shapes] == [
        ("class 1", 1, "mask"),
        ("class 2", 2, "polygon"),
    ]
    assert shapes[0]["points"] == [[0, 0], [3, 3]]
    assert shapes[0]["mask"].astype(int).tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    assert set(map(tuple, shapes[1]["points"])) == {(2, 1)}


def test_an_unnamed_image_has_its_size_and_a_placeholder_path() -> None:
    file = answer("labelme", segmentation([[1, 0, 0]]))

    assert (file["imageHeight"], file["imageWidth"], file["imageData"], file["imagePath"]) == (1, 3, None, "image")


@given(segmentations(), OPTIONS)
def test_labelme_draws_the_masks(result: Segmentation, options: AnswerOptions) -> None:
    body = encode_as("labelme", result, options.model_copy(update={"image_name": PHOTO}))

    assert_masks(draw_masks(body, result), result, options)


@pytest.mark.parametrize("hole", [False, True])
def test_labelme_draws_simplified_parts_in_place(hole: bool) -> None:
    y, x = np.mgrid[:60, :60]
    distance = np.hypot(x - 31, y - 27)
    result = segmentation(((distance < 23) & (distance > 8 * hole)).astype(int))

    [(_, mask)] = draw_masks(encode_as("labelme", result, AnswerOptions(tolerance=2, image_name=PHOTO)), result)

    assert (mask & (result.label_map == 1)).sum() / (mask | (result.label_map == 1)).sum() > 0.93
