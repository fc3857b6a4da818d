from functools import partial

import pytest
from hypothesis import given

from handler.errors import ResponseTooLarge
from handler.masks import outline_length
from handler.masks.outline_length import check_outline_length
from handler.masks.segmentation import Segmentation
from handler.options import AnswerOptions
from handler.strips import row_strips
from tests.unit.handler.answers.exports.support import RING, encode_as, segmentation, segmentations

POLYGONS = [
    AnswerOptions(masks="polygons"),
    *(AnswerOptions(format=name) for name in ("geojson", "labelme", "labelstudio_polygons")),
    AnswerOptions(format="geojson", tolerance=10.0),
]
COMPONENTS = [AnswerOptions(format=name, components=True) for name in ("json", "coco", "coco_panoptic", "labelstudio", "cvat")]


def error_message(result: Segmentation) -> str:
    with pytest.raises(ResponseTooLarge) as error:
        check_outline_length(result.label_map)
    return str(error.value)


def test_edges_between_segments_count_and_the_images_border_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outline_length, "MAX_OUTLINE_EDGES", 1)

    assert "have 2 pixel edges, the limit is 1; send a smaller image, or ask for run lengths of whole classes" in error_message(
        segmentation([[1, 1], [1, 0]])
    )


@given(segmentations())
def test_strips_do_not_change_the_count(result: Segmentation) -> None:
    labels = result.label_map
    edges = int((labels[1:] != labels[:-1]).sum() + (labels[:, 1:] != labels[:, :-1]).sum())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outline_length, "row_strips", partial(row_strips, pixels=60))
        patch.setattr(outline_length, "MAX_OUTLINE_EDGES", edges)
        check_outline_length(labels)
        patch.setattr(outline_length, "MAX_OUTLINE_EDGES", edges - 1)
        assert f" {edges:,} pixel edges" in error_message(result)


@pytest.mark.parametrize("options", [*POLYGONS, *COMPONENTS], ids=repr)
def test_formats_that_trace_outlines_refuse_too_long_ones(monkeypatch: pytest.MonkeyPatch, options: AnswerOptions) -> None:
    monkeypatch.setattr(outline_length, "MAX_OUTLINE_EDGES", 10)

    with pytest.raises(ResponseTooLarge, match="limit is 10;"):
        encode_as(options.format, segmentation(RING), options)


@pytest.mark.parametrize("name", ["json", "coco", "cvat", "labelstudio", "png"])
def test_run_lengths_of_whole_classes_trace_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(outline_length, "MAX_OUTLINE_EDGES", 0)

    assert encode_as(name, segmentation(RING))
