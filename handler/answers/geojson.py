"""`geojson`: segments as polygons with holes, in GeoJSON's syntax (RFC 7946) but in pixels instead of degrees.

A pixel is a 1×1 square. x points right from the upper left corner of the image, and y down; with `y_axis=up` y points up, so
that the image lies between -height and 0, where QGIS draws a picture that is not georeferenced. Background is omitted.
"""

from dataclasses import replace

from handler.answers.common_fields import header_fields, segment_fields
from handler.answers.response import EncodedResponse, json_response
from handler.masks.polygons import Polygon, trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects
from handler.options import AnswerOptions, ModelIdentity

CONTENT_TYPE = "application/geo+json"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode a FeatureCollection with a MultiPolygon for each segment, simplified by `options.tolerance`."""
    segments = find_objects(result, options)
    outlines = trace_polygons(segments, options.tolerance)
    orient = _turn_y_up if options.y_axis == "up" else list
    answer = {
        "type": "FeatureCollection",
        **header_fields(segments, model),
        "features": [
            {
                "type": "Feature",
                "properties": segment_fields(segment, result.labels),
                "geometry": {"type": "MultiPolygon", "coordinates": orient(outlines[segment.id])},
            }
            for segment in segments.items
        ],
    }
    return replace(json_response(answer), content_type=CONTENT_TYPE)


def _turn_y_up(polygons: list[Polygon]) -> list[Polygon]:
    """Mirror polygons at y = 0. Mirroring reverses a ring's orientation, so its points are reversed too."""
    return [[[(x, -y) for x, y in reversed(ring)] for ring in polygon] for polygon in polygons]
