"""`labelstudio_polygons`: a prediction for Label Studio, with polygons that people can edit.

Like `labelstudio`, with `PolygonLabels` in place of `BrushLabels`. Points are percentages of the image's width and height.
Label Studio's polygons have no holes, so parts with holes are split along cuts through them; no area is lost or drawn twice.
https://labelstud.io/tags/polygonlabels
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from handler.answers.label_studio import encode_prediction
from handler.answers.response import EncodedResponse
from handler.masks.polygons import split_at_holes, trace_polygons
from handler.masks.segmentation import Segmentation
from handler.masks.segments import Segment, Segments, find_objects
from handler.options import AnswerOptions, ModelIdentity

_LABELS = "polygonlabels"
#: Decimal places of a percentage: less than a thousandth of a pixel at 65,536 pixels.
_DECIMALS = 6


def encode(result: Segmentation, model: ModelIdentity, options: AnswerOptions) -> EncodedResponse:
    segments = find_objects(result, options)
    return encode_prediction(segments, model, _LABELS, _find_regions(segments, options.tolerance))


def _find_regions(segments: Segments, tolerance: float) -> Iterator[tuple[Segment, dict[str, Any]]]:
    height, width = segments.size
    outlines = trace_polygons(segments, tolerance)
    for segment in segments.items:
        for part in outlines[segment.id]:
            for ring in split_at_holes(part):
                points = np.round(100 * ring[:-1] / (width, height), _DECIMALS)
                yield segment, {"points": points.tolist(), "closed": True}
