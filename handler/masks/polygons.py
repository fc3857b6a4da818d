"""Outlines of segments as polygons with holes, along the edges of pixels.

rasterio and shapely are imported with the first polygon: a worker that traces none is 22 MB lighter.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from handler.masks.outline_length import check_outline_length
from handler.masks.segments import Segments

if TYPE_CHECKING:
    import shapely

#: A pixel corner x, y; the upper left pixel covers 0..1 in both.
Point = tuple[int, int]
#: Closed: the last point repeats the first.
Ring = list[Point]
#: The outer ring, then its holes. As in GeoJSON (RFC 7946, section 3.1.6) the outer ring turns from x to y, which is clockwise
#: on screen because y points down; holes turn the other way.
Polygon = list[Ring]


def trace_polygons(segments: Segments, tolerance: float = 0.0) -> dict[int, list[Polygon]]:
    """Trace the listed segments; return, by segment id, a valid polygon for each connected part.

    Args:
        segments: the segments of an image; those not in `items` are skipped.
        tolerance: how far a ring may stray from the outline, in pixels (Douglas and Peucker 1973), and twice that at the
            ring's first point. 0: polygons cover exactly the segment's pixels. Above 0: parts and holes keep their number,
            but neighbouring segments may overlap or leave gaps.

    Raises:
        ResponseTooLarge: the outlines exceed `MAX_OUTLINE_EDGES`.
    """
    from rasterio import features

    check_outline_length(segments.ids)
    polygons: dict[int, list[Polygon]] = {segment.id: [] for segment in segments.items}
    listed = np.zeros(int(segments.ids.max()) + 1, np.bool_)
    listed[list(polygons)] = True
    for shape, segment_id in features.shapes(segments.ids, mask=np.take(listed, segments.ids), connectivity=4):
        # rasterio's rings turn the other way.
        exact = [[(int(x), int(y)) for x, y in reversed(ring)] for ring in shape["coordinates"]]
        polygons[int(segment_id)].append(_simplify(exact, tolerance) if tolerance else exact)
    return polygons


def split_at_holes(polygon: Polygon) -> Iterator[npt.NDArray[np.float64]]:
    """Cut `polygon` from top to bottom through its holes into closed rings, n×2, that cover exactly its area."""
    import shapely

    if len(polygon) == 1:
        yield np.array(polygon[0], np.float64)
    else:
        yield from _split(shapely.Polygon(polygon[0], polygon[1:]))


def _simplify(polygon: Polygon, tolerance: float) -> Polygon:
    import shapely
    from shapely.geometry.polygon import orient

    simple = orient(shapely.Polygon(polygon[0], polygon[1:]).simplify(tolerance, preserve_topology=True))
    # Simplifying only drops points, so coordinates stay integers.
    rings = (simple.exterior, *simple.interiors)
    return [[(x, y) for x, y in shapely.get_coordinates(ring).astype(np.int64).tolist()] for ring in rings]


def _split(polygon: "shapely.Polygon") -> Iterator[npt.NDArray[np.float64]]:
    import shapely
    from shapely.geometry.polygon import orient

    if not polygon.interiors:
        yield shapely.get_coordinates(polygon)
        return
    left, top, right, bottom = polygon.bounds
    x = _choose_cut(polygon)
    for side in (shapely.box(left, top, x, bottom), shapely.box(x, top, right, bottom)):
        for piece in shapely.get_parts(polygon.intersection(side)):
            if isinstance(piece, shapely.Polygon):  # A shared edge or corner leaves a line or a point too.
                yield from _split(orient(piece))


def _choose_cut(polygon: "shapely.Polygon") -> float:
    """Return an x through the middle hole from left to right, so that each side keeps about half of the holes."""
    bounds = sorted(hole.bounds for hole in polygon.interiors)
    left, right = float(bounds[len(bounds) // 2][0]), float(bounds[len(bounds) // 2][2])
    middle = (left + right) // 2
    # Cut between pixels if possible. A hole one pixel wide becomes a notch of the right side.
    x = middle if middle > left else left
    return x if x > polygon.bounds[0] else (left + right) / 2
