"""`geojson`: every segment as polygons with holes in pixel coordinates (GeoJSON, RFC 7946).

x goes right and y down from the upper left corner of the image; a pixel is a square of 1×1. Background is left out.
"""

from dataclasses import replace

from handler.encoders.figures import figures, heading
from handler.encoders.response import EncodedResponse, ModelIdentity, json_response
from handler.labelmap import Segmentation
from handler.options import AnswerOptions
from handler.polygons import polygons
from handler.segments import find_objects

CONTENT_TYPE = "application/geo+json"


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    """A FeatureCollection: for each segment a MultiPolygon, one polygon for each connected part; as exact as `tolerance`."""
    segments = find_objects(result, options)
    outlines = polygons(segments, options.tolerance)
    answer = {
        "type": "FeatureCollection",
        **heading(segments, model),
        "features": [
            {
                "type": "Feature",
                "properties": figures(segment, result.labels),
                "geometry": {"type": "MultiPolygon", "coordinates": outlines[segment.id]},
            }
            for segment in segments.items
        ],
    }
    return replace(json_response(answer), content_type=CONTENT_TYPE)
