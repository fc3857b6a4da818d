"""The outlines of segments as polygons with holes, along the edges of their pixels.

rasterio and shapely are imported when the first polygon is asked for: a worker that is asked for none is 22 MB lighter.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from handler.masks.outline_length import check_outline_length
from handler.masks.segments import Segments

if TYPE_CHECKING:
    import shapely

#: A corner of pixels: x, y in pixels of the image, whose upper left pixel covers 0..1.
Point = tuple[int, int]
#: Closed: the last point is the first.
Ring = list[Point]
#: The outer ring, then one for each hole. By GeoJSON's rule (RFC 7946, section 3.1.6) the outer one turns from x to y, which
#: is clockwise where y points down, and holes turn the other way.
Polygon = list[Ring]


def trace_polygons(segments: Segments, tolerance: float = 0.0) -> dict[int, list[Polygon]]:
    """For each of the segments by its id, a valid polygon for each connected part.

    Args:
        segments: Those listed are outlined.
        tolerance: How far a ring may leave the outline, in pixels (Douglas and Peucker 1973); twice as far where it begins
            and ends. 0: the polygons cover the segment's pixels and nothing else. Above, parts and holes are as many as before,
            but neighbouring segments may overlap or leave gaps.

    Raises:
        ResponseTooLarge: the outlines are too long to be traced.
    """
    from rasterio import features

    check_outline_length(segments.ids)
    found: dict[int, list[Polygon]] = {segment.id: [] for segment in segments.items}
    listed = np.zeros(int(segments.ids.max()) + 1, np.bool_)
    listed[list(found)] = True
    for shape, each in features.shapes(segments.ids, mask=np.take(listed, segments.ids), connectivity=4):
        # rasterio's rings turn the other way.
        exact = [[(int(x), int(y)) for x, y in reversed(ring)] for ring in shape["coordinates"]]
        found[int(each)].append(_simplified(exact, tolerance) if tolerance else exact)
    return found


def split_at_holes(polygon: Polygon) -> Iterator[npt.NDArray[np.float64]]:
    """Closed rings, n×2, that do not overlap and together cover `polygon` and nothing else.

    It is cut from top to bottom at holes.
    """
    import shapely

    if len(polygon) == 1:
        yield np.array(polygon[0], np.float64)
    else:
        yield from _cut(shapely.Polygon(polygon[0], polygon[1:]))


def _simplified(polygon: Polygon, tolerance: float) -> Polygon:
    import shapely
    from shapely.geometry.polygon import orient

    simple = orient(shapely.Polygon(polygon[0], polygon[1:]).simplify(tolerance, preserve_topology=True))
    # Its points are some of those that there were.
    rings = (simple.exterior, *simple.interiors)
    return [[(x, y) for x, y in shapely.get_coordinates(ring).astype(np.int64).tolist()] for ring in rings]


def _cut(polygon: "shapely.Polygon") -> Iterator[npt.NDArray[np.float64]]:
    import shapely
    from shapely.geometry.polygon import orient

    if not polygon.interiors:
        yield shapely.get_coordinates(polygon)
        return
    left, top, right, bottom = polygon.bounds
    at = _cutting_line(polygon)
    for side in (shapely.box(left, top, at, bottom), shapely.box(at, top, right, bottom)):
        for piece in shapely.get_parts(polygon.intersection(side)):
            if isinstance(piece, shapely.Polygon):  # Where only an edge or a corner is shared, a line or a point is left too.
                yield from _cut(orient(piece))


def _cutting_line(polygon: "shapely.Polygon") -> float:
    """An x through the middle hole of several, from left to right, so that either side has about half of them."""
    bounds = sorted(hole.bounds for hole in polygon.interiors)
    left, right = float(bounds[len(bounds) // 2][0]), float(bounds[len(bounds) // 2][2])
    middle = (left + right) // 2
    # Between pixels where that can be, so that none is cut. A hole one pixel wide becomes a notch of the right side.
    at = middle if middle > left else left
    return at if at > polygon.bounds[0] else (left + right) / 2
