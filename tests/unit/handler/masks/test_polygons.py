from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features

from handler.masks.polygons import split_at_holes, trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects, find_segments
from handler.options import AnswerOptions
from tests.unit.handler.answers.exports.support import OPTIONS, RING, answer, segmentation, segmentations

ALL = AnswerOptions()


def test_a_polygon_follows_pixel_edges_and_its_holes_turn_the_other_way() -> None:
    polygons = trace_polygons(find_objects(segmentation([[1, 1, 1], [1, 0, 1], [1, 1, 1]]), ALL))

    assert polygons == {1: [[[(0, 0), (3, 0), (3, 3), (0, 3), (0, 0)], [(1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]]]}


def test_each_connected_part_is_a_polygon() -> None:
    polygons = trace_polygons(find_objects(segmentation([[1, 0, 1]]), ALL))

    assert [len(parts) for parts in polygons.values()] == [2]


def test_unlisted_segments_have_no_polygons() -> None:
    assert list(trace_polygons(find_objects(segmentation(RING), ALL))) == [1, 2]


@pytest.mark.slow
@given(segmentations(), OPTIONS)
def test_polygons_are_valid_and_cover_exactly_their_segments(result: Segmentation, options: AnswerOptions) -> None:
    segments = find_segments(result, options)

    polygons = trace_polygons(segments)

    for segment in segments.items:
        parts = shapely.MultiPolygon([(part[0], part[1:]) for part in polygons[segment.id]])
        assert parts.is_valid
        assert parts.area == segment.pixels
        rasterized = features.rasterize([parts], out_shape=segments.size)
        np.testing.assert_array_equal(rasterized, segments.mask(segment))


@pytest.mark.slow
@given(segmentations(), OPTIONS, st.floats(0.01, 10))
def test_simplified_polygons_keep_their_parts_and_holes(result: Segmentation, options: AnswerOptions, tolerance: float) -> None:
    segments = find_segments(result, options)

    exact, simplified = trace_polygons(segments), trace_polygons(segments, tolerance)

    for segment_id, parts in simplified.items():
        assert [len(part) for part in parts] == [len(part) for part in exact[segment_id]]
        for part, exact_part in zip(parts, exact[segment_id], strict=True):
            assert shapely.Polygon(part[0], part[1:]).is_valid
            assert shapely.Polygon(part[0]).exterior.is_ccw
            outline = shapely.MultiLineString(exact_part)
            assert shapely.covers(outline, shapely.MultiPoint([point for ring in part for point in ring]))


#: The polygons of an answer, in pixels, each with the index or name of its class.
Shapes = list[tuple[object, shapely.Polygon]]


def shapes_of_json(answer: Any, _: Segmentation) -> Shapes:
    polygons = [(s["index"], part) for s in answer["segments"] for part in s["mask"]["polygons"]]
    return [(index, shapely.Polygon(part[0], part[1:])) for index, part in polygons]


def shapes_of_geojson(answer: Any, _: Segmentation) -> Shapes:
    polygons = [(f["properties"]["index"], part) for f in answer["features"] for part in f["geometry"]["coordinates"]]
    return [(index, shapely.Polygon(part[0], part[1:])) for index, part in polygons]


def shapes_of_labelme(answer: Any, _: Segmentation) -> Shapes:
    return [(s["label"], shapely.Polygon(np.array(s["points"]) + 0.5)) for s in answer["shapes"] if s["mask"] is None]


def shapes_of_label_studio(answer: Any, result: Segmentation) -> Shapes:
    height, width = result.label_map.shape
    values = [region["value"] for region in answer["result"]]
    return [(value["polygonlabels"][0], shapely.Polygon(np.array(value["points"]) / 100 * (width, height))) for value in values]


POLYGON_FORMATS: dict[str, Callable[[Any, Segmentation], Shapes]] = {
    "json": shapes_of_json,
    "geojson": shapes_of_geojson,
    "labelme": shapes_of_labelme,
    "labelstudio_polygons": shapes_of_label_studio,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", POLYGON_FORMATS)
@given(result=segmentations(), options=OPTIONS, tolerance=st.sampled_from([0.5, 1.0, 2.0, 4.0, 10.0]))
def test_neighbours_neither_overlap_nor_leave_gaps(
    name: str, result: Segmentation, options: AnswerOptions, tolerance: float
) -> None:
    changes = {"format": name, "masks": "polygons"}
    exact, simplified = (
        POLYGON_FORMATS[name](answer(name, result, options.model_copy(update={**changes, "tolerance": value})), result)
        for value in (0.0, tolerance)
    )
    polygons = [polygon for _, polygon in simplified]

    assert all(polygon.is_valid for polygon in polygons)
    union = shapely.union_all(polygons, grid_size=1e-4)
    assert np.isclose(sum(polygon.area for polygon in polygons), union.area, atol=0.01)
    if name != "labelme":  # Its exact polygons run through pixel centres, and parts with holes are masks.
        exact_union = shapely.union_all([polygon for _, polygon in exact], grid_size=1e-4)
        gaps = [gap for gap in shapely.get_parts(exact_union.difference(union)) if gap.area > 0.01]
        assert all(gap.distance(exact_union.boundary) < 1e-3 for gap in gaps)


def test_two_neighbours_share_their_simplified_border() -> None:
    y, x = np.mgrid[:200, :200]
    labels = np.where(x + 12 * np.sin(y / 9) + 5 * np.sin(y / 3.1) < 100, 1, 2)
    segments = find_segments(segmentation(labels), ALL)
    shared = {key: shapely.Polygon(part[0]) for key, (part,) in trace_polygons(segments, 4.0).items()}
    independent = {key: shapely.Polygon(part[0]).simplify(4) for key, (part,) in trace_polygons(segments).items()}

    assert shared[1].intersection(shared[2]).area == 0
    assert shared[1].union(shared[2]).area == 200 * 200
    assert independent[1].intersection(independent[2]).area + 200 * 200 - independent[1].union(independent[2]).area > 20


def test_a_staircase_becomes_a_line() -> None:
    segments = find_objects(segmentation(np.tri(30, dtype=int)), ALL)

    [[ring]] = trace_polygons(segments, 1.0)[1]

    assert len(trace_polygons(segments)[1][0][0]) > 60
    assert len(ring) < 8


def test_json_polygons_follow_the_tolerance() -> None:
    result = segmentation(np.tri(30, dtype=int))

    exact, simplified = (
        answer("json", result, AnswerOptions(masks="polygons", tolerance=tolerance))["segments"][0]["mask"]["polygons"]
        for tolerance in (0.0, 1.0)
    )

    assert len(exact[0][0]) > 60
    assert len(simplified[0][0]) < 8


@pytest.mark.slow
@given(segmentations(), st.sampled_from([0.0, 0.0, 0.7, 3.0]))
def test_pieces_without_holes_add_up_to_the_polygon(result: Segmentation, tolerance: float) -> None:
    for parts in trace_polygons(find_segments(result, ALL), tolerance).values():
        for part in parts:
            polygon = shapely.Polygon(part[0], part[1:])
            pieces = [shapely.Polygon(ring) for ring in split_at_holes(part)]
            assert all(piece.is_valid for piece in pieces)
            assert np.isclose(sum(piece.area for piece in pieces), polygon.area)
            assert np.isclose(shapely.union_all(pieces).symmetric_difference(polygon).area, 0, atol=1e-6)
