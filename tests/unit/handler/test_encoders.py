import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from handler.encoders import FORMATS, ModelIdentity, overlay
from handler.encoders.lettering import lettering
from handler.encoders.overlay import overlay_image
from handler.encoders.palette_png import palette_image
from handler.errors import InvalidOption
from handler.labelmap import Segmentation
from handler.labels import Labels
from handler.options import AnswerOptions
from model.palette import voc_palette

MODEL = ModelIdentity("deeplabv3", "1.0")
LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


@pytest.fixture
def result() -> Segmentation:
    labels = np.array([[0, 0, 2, 2], [0, 1, 2, 0]], np.uint8)
    return of(labels)


def test_json_names_every_class_with_its_figures(result: Segmentation) -> None:
    response = FORMATS["json"].encode(result, MODEL, AnswerOptions())

    answer = json.loads(response.body)
    for segment in answer["segments"]:
        segment.pop("mask")
    assert response.content_type == "application/json"
    assert answer == {
        "model": "deeplabv3",
        "version": "1.0",
        "image": {"width": 4, "height": 2},
        "segments": [
            {
                "index": 2, "label": "dog", "color": "#008000", "pixels": 3, "fraction": 0.375,
                "bbox": [2, 0, 2, 2], "score": 0.5,
            },
            {
                "index": 1, "label": "cat", "color": "#800000", "pixels": 1, "fraction": 0.125,
                "bbox": [1, 1, 1, 1], "score": 0.5,
            },
            {
                "index": 0, "label": "background", "color": "#000000", "pixels": 4, "fraction": 0.5,
                "bbox": [0, 0, 4, 2], "score": 0.5,
            },
        ],
    }  # fmt: skip


def test_json_is_compact(result: Segmentation) -> None:
    body = FORMATS["json"].encode(result, MODEL, AnswerOptions()).body

    assert b"\n" not in body
    assert b", " not in body


def test_run_lengths_give_the_masks_back_disjoint_and_covering() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (37, 23), dtype=np.uint8)

    segments = json.loads(FORMATS["json"].encode(of(labels), MODEL, AnswerOptions()).body)["segments"]

    rebuilt = np.full(labels.shape, 255, np.uint8)
    for segment in segments:
        assert segment["mask"]["size"] == [37, 23]
        mask = coco.decode({"size": segment["mask"]["size"], "counts": segment["mask"]["counts"].encode()}).astype(bool)
        assert (rebuilt[mask] == 255).all()
        rebuilt[mask] = segment["index"]
    np.testing.assert_array_equal(rebuilt, labels)


def test_png_pixels_are_class_indices_in_class_colours(result: Segmentation) -> None:
    response = FORMATS["png"].encode(result, MODEL, AnswerOptions())

    picture = Image.open(io.BytesIO(response.body))
    assert response.content_type == "image/png"
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), result.label_map)
    assert picture.convert("RGB").getpixel((2, 0)) == LABELS.palette[2]
    assert json.loads(picture.info["classes"]) == list(LABELS.names)
    assert picture.info["model"] == "deeplabv3 1.0"


def test_a_palette_png_holds_256_classes_and_no_more() -> None:
    many = Labels(tuple(map(str, range(257))), voc_palette(257))
    labels = np.array([[0, 256]], np.uint16)

    with pytest.raises(InvalidOption, match="'png' holds 256 classes, this model has 257; use 'index'"):
        palette_image(Segmentation(np.zeros((1, 2, 3), np.uint8), labels, np.zeros((257, 1, 1), np.float32), many))


def test_the_overlay_tints_segments_and_leaves_background(result: Segmentation) -> None:
    pixels = np.asarray(overlay_image(result, alpha=0.5))

    assert pixels[0, 0].tolist() == [100, 100, 100]
    assert pixels[0, 2].tolist() == [50, 114, 50]
    assert pixels[1, 1].tolist() == [114, 50, 50]


def test_the_overlay_has_the_size_of_the_image(result: Segmentation) -> None:
    response = FORMATS["overlay"].encode(result, MODEL, AnswerOptions())

    assert response.content_type == "image/jpeg"
    assert Image.open(io.BytesIO(response.body)).size == (4, 2)


def test_the_overlay_does_not_depend_on_the_height_of_its_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (200, 300)).astype(np.uint8)
    whole = overlay_image(of(labels))

    monkeypatch.setattr(overlay, "_PIXELS_AT_ONCE", 700)

    np.testing.assert_array_equal(np.asarray(overlay_image(of(labels))), np.asarray(whole))


def test_the_legend_is_drawn_where_it_fits() -> None:
    labels = np.ones((200, 300), np.uint8)
    without = np.asarray(overlay_image(of(labels[:8, :8])))
    with_legend = np.asarray(overlay_image(of(labels)))

    assert (without == without[0, 0]).all()
    assert (with_legend[:20, :60] != with_legend[-1, -1]).any()
    assert (with_legend[100:] == with_legend[-1, -1]).all()


def of(labels: np.typing.NDArray[np.uint8]) -> Segmentation:
    """A segmentation of a grey photograph where every class is given a probability of one half."""
    return Segmentation(np.full((*labels.shape, 3), 100, np.uint8), labels, np.full((3, 1, 1), 0.5, np.float32), LABELS)


def test_a_legend_has_letters_beyond_english() -> None:
    font = lettering(20)

    assert bytes(font.getmask("я")) != bytes(font.getmask("ж"))
