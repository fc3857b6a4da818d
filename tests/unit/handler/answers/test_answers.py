import base64
import io
import json
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from handler.answers import FORMATS, overlay
from handler.answers.fonts import load_font
from handler.answers.overlay import draw_overlay
from handler.labels import Labels
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions, Masks, ModelIdentity
from handler.strips import row_strips
from model.palette import voc_palette

MODEL = ModelIdentity("deeplabv3", "1.0")
LABELS = Labels(("background", "cat", "dog"), voc_palette(3))


@pytest.fixture
def result() -> Segmentation:
    labels = np.array([[0, 0, 2, 2], [0, 1, 2, 0]], np.uint8)
    return segmentation_of(labels)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_one_content_type_share_a_suffix(name: str) -> None:
    suffix = FORMATS[name].suffix

    assert {entry.suffix for entry in FORMATS.values() if entry.content_type == FORMATS[name].content_type} == {suffix}
    assert suffix[0] == "."
    assert suffix[1:].isalnum()


def test_json_lists_every_class_with_its_size_and_score(result: Segmentation) -> None:
    response = FORMATS["json"].encode(result, MODEL, AnswerOptions())

    answer = json.loads(response.body)
    for segment in answer["segments"]:
        segment.pop("mask")
    assert response.content_type == "application/json"
    assert answer == {
        "model": "deeplabv3",
        "version": "1.0",
        "image": {"width": 4, "height": 2},
        "review": 0.5,
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


def test_run_lengths_decode_to_disjoint_masks_that_cover_the_image() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (37, 23), dtype=np.uint8)

    segments = json.loads(FORMATS["json"].encode(segmentation_of(labels), MODEL, AnswerOptions()).body)["segments"]

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


def test_the_overlay_tints_segments_and_leaves_background(result: Segmentation) -> None:
    pixels = np.asarray(draw_overlay(result, alpha=0.5))

    assert pixels[0, 0].tolist() == [100, 100, 100]
    assert pixels[0, 2].tolist() == [50, 114, 50]
    assert pixels[1, 1].tolist() == [114, 50, 50]


def test_the_overlay_has_the_size_of_the_image(result: Segmentation) -> None:
    response = FORMATS["overlay"].encode(result, MODEL, AnswerOptions())

    assert response.content_type == "image/jpeg"
    assert Image.open(io.BytesIO(response.body)).size == (4, 2)


def test_strips_do_not_change_the_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (200, 300)).astype(np.uint8)
    expected = draw_overlay(segmentation_of(labels))

    monkeypatch.setattr(overlay, "row_strips", partial(row_strips, pixels=700))

    np.testing.assert_array_equal(np.asarray(draw_overlay(segmentation_of(labels))), np.asarray(expected))


def test_the_legend_is_drawn_where_it_fits() -> None:
    labels = np.ones((200, 300), np.uint8)
    without_legend = np.asarray(draw_overlay(segmentation_of(labels[:8, :8])))
    with_legend = np.asarray(draw_overlay(segmentation_of(labels)))

    assert (without_legend == without_legend[0, 0]).all()
    assert (with_legend[:20, :60] != with_legend[-1, -1]).any()
    assert (with_legend[100:] == with_legend[-1, -1]).all()


def test_index_pixels_are_class_indices_in_grey(result: Segmentation) -> None:
    response = FORMATS["index"].encode(result, MODEL, AnswerOptions())

    picture = Image.open(io.BytesIO(response.body))
    assert (response.content_type, picture.mode) == ("image/png", "L")
    np.testing.assert_array_equal(np.asarray(picture), result.label_map)
    assert json.loads(picture.info["classes"]) == list(LABELS.names)


def test_above_256_classes_index_has_16_bits() -> None:
    label_set = Labels(tuple(map(str, range(300))), voc_palette(300))
    labels = np.array([[0, 255, 256, 299]], np.uint16)

    body = FORMATS["index"].encode(replace(segmentation_of(labels), labels=label_set), MODEL, AnswerOptions()).body

    picture = Image.open(io.BytesIO(body))
    assert picture.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(picture), labels)


def test_confidence_is_the_winning_probability_in_255ths(result: Segmentation) -> None:
    probabilities = np.array([0.2, 0.5, 1.0], np.float32).reshape(3, 1, 1)

    response = FORMATS["confidence"].encode(replace(result, probabilities=probabilities), MODEL, AnswerOptions())

    picture = Image.open(io.BytesIO(response.body))
    assert (response.content_type, picture.mode) == ("image/png", "L")
    assert np.asarray(picture).tolist() == [[51, 51, 255, 255], [51, 128, 255, 51]]


def test_numpy_reads_npz_without_pickles(result: Segmentation) -> None:
    response = FORMATS["npz"].encode(result, MODEL, AnswerOptions())

    assert response.content_type == "application/x-npz"
    with np.load(io.BytesIO(response.body), allow_pickle=False) as arrays:
        assert set(arrays) == {"label_map", "probabilities", "classes", "palette", "model"}
        np.testing.assert_array_equal(arrays["label_map"], result.label_map)
        np.testing.assert_array_equal(arrays["probabilities"], result.probabilities)
        assert arrays["probabilities"].dtype == np.float16
        assert arrays["classes"].tolist() == list(LABELS.names)
        assert arrays["palette"].tolist() == [list(colour) for colour in LABELS.palette]
        assert arrays["model"].tolist() == ["deeplabv3", "1.0"]


@pytest.mark.parametrize("name", FORMATS)
def test_the_encoding_does_not_depend_on_the_clock(result: Segmentation, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first = FORMATS[name].encode(result, MODEL, AnswerOptions())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 100_000)

    assert FORMATS[name].encode(result, MODEL, AnswerOptions()) == first


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (60, 90), (300, 200)])
def test_no_answer_is_smaller_than_its_formats_lower_bound(name: str, size: tuple[int, int]) -> None:
    result = segmentation_of(np.zeros(size, np.uint8))

    answer = FORMATS[name].encode(result, MODEL, AnswerOptions(masks="none"))

    assert FORMATS[name].min_bytes(size[0] * size[1], result.probabilities.size) <= len(answer.body)


def test_every_format_has_a_description() -> None:
    assert all(entry.summary and "/" in entry.content_type for entry in FORMATS.values())


def masks_of(labels: np.typing.NDArray[np.uint8], kind: Masks, **options: object) -> list[tuple[str, dict[str, Any] | None]]:
    """Return the label and mask of each segment of a JSON answer."""
    answer_options = AnswerOptions.model_validate({"masks": kind, **options})
    answer = json.loads(FORMATS["json"].encode(segmentation_of(labels), MODEL, answer_options).body)
    return [(segment["label"], segment.get("mask")) for segment in answer["segments"]]


def test_png_masks_hold_each_segments_pixels() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (13, 17), dtype=np.uint8)

    for label, mask in masks_of(labels, "png"):
        assert mask is not None
        assert mask["size"] == [13, 17]
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(mask["png"]))))
        np.testing.assert_array_equal(picture.astype(bool), labels == LABELS.names.index(label))


def test_polygons_have_holes_and_cover_each_segments_pixels() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[1:5, 1:5] = 1
    labels[2:4, 2:4] = 2

    ring, hole = dict(masks_of(labels, "polygons"))["cat"]["polygons"][0]  # type: ignore[index]

    assert sorted(map(tuple, ring)) == [(1, 1), (1, 1), (1, 5), (5, 1), (5, 5)]
    assert sorted(map(tuple, hole)) == [(2, 2), (2, 2), (2, 4), (4, 2), (4, 4)]


def test_masks_none_omits_the_masks() -> None:
    assert masks_of(np.array([[0, 1]], np.uint8), "none") == [("cat", None), ("background", None)]


def test_each_component_is_listed_with_its_mask() -> None:
    labelled_masks = masks_of(np.array([[1, 0, 1, 1]], np.uint8), "rle", components=True)

    assert [label for label, _ in labelled_masks] == ["cat", "cat", "background"]
    decoded = [
        coco.decode({"size": mask["size"], "counts": mask["counts"].encode()}).tolist() for _, mask in labelled_masks if mask
    ]
    assert decoded == [[[0, 0, 1, 1]], [[1, 0, 0, 0]], [[0, 1, 0, 0]]]


def test_segments_below_the_minimum_score_are_omitted() -> None:
    assert masks_of(np.array([[0, 1]], np.uint8), "none", min_score=0.51) == []
    assert len(masks_of(np.array([[0, 1]], np.uint8), "none", min_score=0.5)) == 2


def test_the_legend_font_has_cyrillic_letters() -> None:
    font = load_font(20)

    assert bytes(font.getmask("я")) != bytes(font.getmask("ж"))


def segmentation_of(labels: np.typing.NDArray[np.unsignedinteger]) -> Segmentation:
    """Build a segmentation of a grey photograph where every class has probability 0.5."""
    return Segmentation(np.full((*labels.shape, 3), 100, np.uint8), labels, np.full((3, 1, 1), 0.5, np.float32), LABELS)
