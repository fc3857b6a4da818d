import numpy as np
import shapely
from hypothesis import given, settings
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


def test_segments_that_are_not_listed_have_no_polygons() -> None:
    assert list(trace_polygons(find_objects(segmentation(RING), ALL))) == [1, 2]


@given(segmentations(), OPTIONS)
def test_polygons_are_valid_and_cover_exactly_their_segments(result: Segmentation, options: AnswerOptions) -> None:
    segments = find_segments(result, options)

    polygons = trace_polygons(segments)

    for segment in segments.items:
        parts = shapely.MultiPolygon([(part[0], part[1:]) for part in polygons[segment.id]])
        assert parts.is_valid
        assert parts.area == segment.pixels
        drawn = features.rasterize([parts], out_shape=segments.size)
        np.testing.assert_array_equal(drawn, segments.mask(segment))


@settings(max_examples=50)
@given(segmentations(), OPTIONS, st.floats(0.01, 10))
def test_simplified_polygons_stay_valid_and_near(result: Segmentation, options: AnswerOptions, tolerance: float) -> None:
    segments = find_segments(result, options)

    exact, simple = trace_polygons(segments), trace_polygons(segments, tolerance)

    for segment_id, parts in simple.items():
        assert [len(part) for part in parts] == [len(part) for part in exact[segment_id]]
        for part, before in zip(parts, exact[segment_id], strict=True):
            assert shapely.Polygon(part[0], part[1:]).is_valid
            outlines = [shapely.MultiLineString(rings) for rings in (part, before)]
            assert shapely.hausdorff_distance(*outlines) <= 2 * tolerance + 1e-6


def test_a_staircase_becomes_a_line() -> None:
    segments = find_objects(segmentation(np.tri(30, dtype=int)), ALL)

    [[ring]] = trace_polygons(segments, 1.0)[1]

    assert len(trace_polygons(segments)[1][0][0]) > 60
    assert len(ring) < 8


def test_json_polygons_follow_the_tolerance() -> None:
    result = segmentation(np.tri(30, dtype=int))

    points = [
        len(
            answer("json", result, AnswerOptions(masks="polygons", tolerance=tolerance))["segments"][0]["mask"]["polygons"][0][
                0
            ]
        )
        for tolerance in (0.0, 1.0)
    ]

    assert points[0] > 60
    assert points[1] < 8


@given(segmentations(), st.sampled_from([0.0, 0.0, 0.7, 3.0]))
def test_pieces_without_holes_add_up_to_the_polygon(result: Segmentation, tolerance: float) -> None:
    for parts in trace_polygons(find_segments(result, ALL), tolerance).values():
        for part in parts:
            whole = shapely.Polygon(part[0], part[1:])
            pieces = [shapely.Polygon(ring) for ring in split_at_holes(part)]
            assert all(piece.is_valid for piece in pieces)
            assert np.isclose(sum(piece.area for piece in pieces), whole.area)
            assert np.isclose(shapely.union_all(pieces).symmetric_difference(whole).area, 0, atol=1e-6)
