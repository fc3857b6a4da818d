"""`geojson`: segments as polygons with holes in pixel coordinates (GeoJSON, RFC 7946).

x points right and y down from the upper left corner of the image; a pixel is a 1×1 square. Background is omitted.
"""

from dataclasses import replace

from handler.answers.common_fields import header_fields, segment_fields
from handler.answers.response import EncodedResponse, json_response
from handler.masks.polygons import trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_objects
from handler.options import AnswerOptions, ModelIdentity

CONTENT_TYPE = "application/geo+json"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """Encode a FeatureCollection with a MultiPolygon for each segment, simplified by `options.tolerance`."""
    segments = find_objects(result, options)
    outlines = trace_polygons(segments, options.tolerance)
    answer = {
        "type": "FeatureCollection",
        **header_fields(segments, model),
        "features": [
            {
                "type": "Feature",
                "properties": segment_fields(segment, result.labels),
                "geometry": {"type": "MultiPolygon", "coordinates": outlines[segment.id]},
            }
            for segment in segments.items
        ],
    }
    return replace(json_response(answer), content_type=CONTENT_TYPE)
