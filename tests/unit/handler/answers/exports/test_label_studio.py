from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features

from handler.answers import label_studio
from handler.answers.rle_pack import pack_mask, packed_size
from handler.errors import ResponseTooLarge
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import OPTIONS, RING, Mask, answer, assert_masks, segmentation, segmentations

pytestmark = pytest.mark.slow


def sdk(module: str) -> Any:
    """Import a module of Label Studio's SDK; skip the test if it is missing."""
    return pytest.importorskip(f"label_studio_sdk.{module}")


@pytest.fixture(scope="module", autouse=True)
def _import_sdk() -> None:
    """Import the SDK before the tests rather than during collection: it takes seconds in every process."""
    sdk("converter.brush")
    sdk("label_interface")


def labelling_interface(result: Segmentation, tag: str) -> Any:
    """Build the labelling configuration that the encoders document."""
    labels = "".join(f'<Label value="{name}"/>' for name in result.labels.names)
    return sdk("label_interface").LabelInterface(
        f'<View><Image name="image" value="$image"/><{tag} name="label" toName="image">{labels}</{tag}></View>'
    )


def masks_of(prediction: dict[str, Any]) -> list[tuple[str, Mask]]:
    labelled_masks = []
    for region in prediction["result"]:
        size = region["original_height"], region["original_width"]
        channels = sdk("converter.brush").decode_rle(region["value"]["rle"]).reshape(*size, 4)
        assert set(channels.ravel().tolist()) <= {0, 255}
        assert (channels == channels[:, :, :1]).all()
        labelled_masks.append((region["value"]["brushlabels"][0], channels[:, :, 3] == 255))
    return labelled_masks


@given(segmentations(), OPTIONS)
def test_label_studio_reads_the_brush_masks_back(result: Segmentation, options: AnswerOptions) -> None:
    prediction = answer("labelstudio", result, options)

    assert labelling_interface(result, "BrushLabels").validate_prediction(prediction, return_errors=True) == []
    assert_masks(masks_of(prediction), result, options)


@given(segmentations(), OPTIONS)
def test_polygons_without_holes_cover_the_masks(result: Segmentation, options: AnswerOptions) -> None:
    prediction = answer("labelstudio_polygons", result, options)

    assert labelling_interface(result, "PolygonLabels").validate_prediction(prediction, return_errors=True) == []
    height, width = result.label_map.shape
    coverage = np.zeros((height, width), int)
    for region in prediction["result"]:
        points = np.rint(np.array(region["value"]["points"]) * (width, height) / 100).astype(int).tolist()
        piece = features.rasterize([{"type": "Polygon", "coordinates": [[*points, points[0]]]}], out_shape=(height, width))
        assert (result.label_map[piece == 1] == result.labels.names.index(region["value"]["polygonlabels"][0])).all()
        coverage += piece
    segments = find_objects(result, options)
    expected = np.isin(segments.ids, [segment.id for segment in segments.items])
    np.testing.assert_array_equal(coverage, expected)


def test_a_region_names_its_image_size_and_label_type() -> None:
    prediction = answer("labelstudio", segmentation(RING))

    assert (prediction["model_version"], prediction["score"]) == ("deeplabv3 1.0", 0.5)
    region = prediction["result"][1]
    del region["value"]
    assert region == {
        "id": "region2", "type": "brushlabels", "from_name": "label", "to_name": "image",
        "original_width": 4, "original_height": 4, "image_rotation": 0, "score": 0.5,
    }  # fmt: skip


def test_background_alone_is_an_empty_prediction() -> None:
    for name in ("labelstudio", "labelstudio_polygons"):
        assert answer(name, segmentation([[0, 0]])) == {"model_version": "deeplabv3 1.0", "score": 0.0, "result": []}


@given(st.lists(st.integers(1, 70_000), min_size=2, max_size=6), st.booleans())
def test_runs_of_any_length_are_packed(lengths: list[int], ends_with_run: bool) -> None:
    ends = np.cumsum(lengths)
    spans = np.stack([ends[:-1:2], ends[1::2]], axis=1) if len(lengths) % 2 == 0 else ends[:-1].reshape(-1, 2)
    size = int(spans[-1, 1]) + (0 if ends_with_run else 5)
    expected = np.zeros(size, np.uint8)
    for start, end in spans:
        expected[start:end] = 255

    packed = pack_mask(spans, size)
    np.testing.assert_array_equal(sdk("converter.brush").decode_rle(packed), expected.repeat(4))
    assert packed_size(spans, size) == len(packed)


def test_masks_with_too_many_packed_bytes_are_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    result = segmentation(RING)
    packed_bytes = sum(len(region["value"]["rle"]) for region in answer("labelstudio", result)["result"])
    monkeypatch.setattr(label_studio, "MAX_PACKED_BYTES", packed_bytes)
    assert answer("labelstudio", result)["result"]

    monkeypatch.setattr(label_studio, "MAX_PACKED_BYTES", packed_bytes - 1)
    with pytest.raises(ResponseTooLarge, match=rf"2 segments.* {packed_bytes} packed bytes, the limit is {packed_bytes - 1};"):
        answer("labelstudio", result)
