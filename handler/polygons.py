"""The outline of a segment as polygons with holes, along the edges of its pixels."""

import numpy as np
from rasterio import features

from handler.segments import Segment, Segments

#: Points x, y in pixels of the image, whose upper left pixel covers 0..1; closed: the last point is the first.
Ring = list[list[float]]
#: The outer ring, then one for each hole.
Polygon = list[Ring]


def polygons(segments: Segments, segment: Segment) -> list[Polygon]:
    """One polygon for each connected part of `segment`; together they cover its pixels and nothing else."""
    x, y, _, _ = segment.bbox
    mask = segments.crop(segment)
    parts = features.shapes(mask.view(np.uint8), mask=mask, connectivity=4)
    return [[[[left + x, top + y] for left, top in ring] for ring in shape["coordinates"]] for shape, _ in parts]
