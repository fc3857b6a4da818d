from functools import partial

import pytest
from hypothesis import given

from handler.errors import ResponseTooLarge
from handler.masks import outline_length as outlines
from handler.masks.outline_length import check_outline_length
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from handler.strips import row_strips
from tests.unit.handler.answers.exports.support import RING, encoded, segmentation, segmentations

POLYGONS = [
    AnswerOptions(masks="polygons"),
    *(AnswerOptions(format=name) for name in ("geojson", "labelme", "labelstudio_polygons")),
    AnswerOptions(format="geojson", tolerance=10.0),
]
COMPONENTS = [AnswerOptions(format=name, components=True) for name in ("json", "coco", "coco_panoptic", "labelstudio", "cvat")]


def refusal(result: Segmentation) -> str:
    with pytest.raises(ResponseTooLarge) as caught:
        check_outline_length(result.label_map)
    return str(caught.value)


def test_edges_between_pixels_of_different_segments_count_and_those_of_the_image_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlines, "MAX_OUTLINE_EDGES", 1)

    assert "run along 2 edges of pixels, the limit is 1; send a smaller image" in refusal(segmentation([[1, 1], [1, 0]]))


@given(segmentations())
def test_edges_are_counted_alike_in_strips(result: Segmentation) -> None:
    labels = result.label_map
    edges = int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(outlines, "row_strips", partial(row_strips, pixels=60))
        changed.setattr(outlines, "MAX_OUTLINE_EDGES", edges)
        check_outline_length(labels)
        changed.setattr(outlines, "MAX_OUTLINE_EDGES", edges - 1)
        assert f" {edges:,} edges" in refusal(result)


@pytest.mark.parametrize("options", [*POLYGONS, *COMPONENTS], ids=repr)
def test_outlines_too_long_to_be_traced_are_refused(monkeypatch: pytest.MonkeyPatch, options: AnswerOptions) -> None:
    monkeypatch.setattr(outlines, "MAX_OUTLINE_EDGES", 10)

    with pytest.raises(ResponseTooLarge, match=r"edges of pixels, the limit is 10; .* ask for run lengths of whole classes"):
        encoded(options.format, segmentation(RING), options)


@pytest.mark.parametrize("name", ["json", "coco", "cvat", "labelstudio", "png"])
def test_run_lengths_of_whole_classes_trace_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(outlines, "MAX_OUTLINE_EDGES", 0)

    assert encoded(name, segmentation(RING))
