"""Trace the outlines of segments as polygons with holes, along pixel edges.

rasterio and shapely are imported for the first polygon, which saves 22 MB in a worker that traces none.
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
#: The outer ring, then its holes. As in GeoJSON (RFC 7946, section 3.1.6), the outer ring turns from x to y, which is clockwise
#: on screen because y points down; holes have the opposite orientation.
Polygon = list[Ring]


def trace_polygons(segments: Segments, tolerance: float = 0.0) -> dict[int, list[Polygon]]:
    """Trace the segments in `items`; return, by segment id, a valid polygon for each connected part.

    Args:
        segments: the segments of an image; those not in `items` are skipped.
        tolerance: the square root of the area, in pixels, that a dropped corner may cut off (Visvalingam and Whyatt 1993).
            At 0, polygons cover exactly the segment's pixels. Above 0, the number of parts and holes stays the same, and
            neighbours are simplified together, so that they neither overlap nor leave gaps.

    Raises:
        ResponseTooLarge: the outlines exceed `MAX_OUTLINE_EDGES`.
    """
    from rasterio import features

    check_outline_length(segments.ids)
    polygons: dict[int, list[Polygon]] = {segment.id: [] for segment in segments.items}
    is_listed = np.zeros(int(segments.ids.max()) + 1, np.bool_)
    is_listed[list(polygons)] = True
    segment_ids, parts = [], []
    for shape, segment_id in features.shapes(segments.ids, mask=np.take(is_listed, segments.ids), connectivity=4):
        segment_ids.append(int(segment_id))
        # rasterio's rings have the opposite orientation.
        parts.append([[(int(x), int(y)) for x, y in reversed(ring)] for ring in shape["coordinates"]])
    if tolerance and parts:
        parts = _simplify_together(parts, np.where(np.take(is_listed, segments.ids), segments.ids, -1), tolerance)
    for segment_id, part in zip(segment_ids, parts, strict=True):
        polygons[segment_id].append(part)
    return polygons


def split_at_holes(polygon: Polygon) -> Iterator[npt.NDArray[np.float64]]:
    """Cut `polygon` vertically through its holes into closed rings, n×2, that cover exactly its area."""
    import shapely

    if len(polygon) == 1:
        yield np.array(polygon[0], np.float64)
    else:
        yield from _split_polygon(shapely.Polygon(polygon[0], polygon[1:]))


def outline_parts(parts: list[Polygon], ids: npt.NDArray[np.integer]) -> npt.NDArray[np.object_]:
    """Return `parts`, which tile a map of `ids` (H×W), as shapely polygons with a vertex wherever a neighbour has one."""
    import shapely

    rings, ring_ends, vertices = _unit_steps([np.array(ring) for part in parts for ring in part])
    is_kept = _is_corner(rings, ids)
    # The outline's own vertices are kept too, because it may have been cut off short of the map's edge.
    is_kept[vertices] = True
    ring_offsets = np.concatenate([[0], np.cumsum(is_kept)[ring_ends - 1]])
    polygon_offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    polygons: npt.NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, rings[is_kept].astype(np.float64), (ring_offsets, polygon_offsets)
    )
    return polygons


def _simplify_together(parts: list[Polygon], ids: npt.NDArray[np.integer], tolerance: float) -> list[Polygon]:
    """Simplify polygons that tile a map of `ids`, H×W (-1 outside all of them), so that they still tile it."""
    import shapely

    simplified = shapely.orient_polygons(shapely.coverage_simplify(outline_parts(parts, ids), tolerance))
    # Simplifying only drops points, so coordinates stay integers.
    _, coordinates, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(simplified)
    points = [(x, y) for x, y in coordinates.astype(np.int64).tolist()]
    rings = [points[start:end] for start, end in zip(ring_offsets[:-1].tolist(), ring_offsets[1:].tolist(), strict=True)]
    return [rings[start:end] for start, end in zip(polygon_offsets[:-1].tolist(), polygon_offsets[1:].tolist(), strict=True)]


def _unit_steps(
    rings: list[npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return every pixel corner along closed rings of horizontal and vertical edges, in one array.

    Returns:
        The corners x, y, n×2; the index in them at which each ring ends; and the indices of the points of `rings`.
    """
    points = np.concatenate(rings)
    ends = np.cumsum([len(ring) for ring in rings])
    edges = np.diff(points, axis=0, append=points[-1:])
    lengths = np.abs(edges).sum(axis=1)
    # No edge begins at a ring's last point, but the point is kept.
    lengths[ends - 1] = 1
    edges[ends - 1] = 0
    first_steps = np.cumsum(lengths) - lengths
    distances = np.arange(int(lengths.sum())) - np.repeat(first_steps, lengths)
    steps = np.repeat(points, lengths, axis=0) + np.repeat(np.sign(edges), lengths, axis=0) * distances[:, np.newaxis]
    return steps, np.cumsum(lengths)[ends - 1], first_steps


def _is_corner(points: npt.NDArray[np.int64], ids: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether an outline bends or several meet at each of `points` (x, y) between pixels; neighbours must share these."""
    height, width = ids.shape
    x, y = points.T
    upper_left, upper_right, lower_left, lower_right = (
        np.where(
            (x + right >= 0) & (x + right < width) & (y + down >= 0) & (y + down < height),
            ids[np.clip(y + down, 0, height - 1), np.clip(x + right, 0, width - 1)],
            -1,
        )
        for down in (-1, 0)
        for right in (-1, 0)
    )
    vertical = (upper_left == lower_left) & (upper_right == lower_right)
    horizontal = (upper_left == upper_right) & (lower_left == lower_right)
    corners: npt.NDArray[np.bool_] = ~(vertical | horizontal)
    return corners


def _split_polygon(polygon: "shapely.Polygon") -> Iterator[npt.NDArray[np.float64]]:
    import shapely
    from shapely.geometry.polygon import orient

    if not polygon.interiors:
        yield shapely.get_coordinates(polygon)
        return
    left, top, right, bottom = polygon.bounds
    x = _choose_cut(polygon)
    for side in (shapely.box(left, top, x, bottom), shapely.box(x, top, right, bottom)):
        for piece in shapely.get_parts(polygon.intersection(side)):
            if isinstance(piece, shapely.Polygon):  # A shared edge or corner also yields a line or a point.
                yield from _split_polygon(orient(piece))


def _choose_cut(polygon: "shapely.Polygon") -> float:
    """Return an x through the middle hole from left to right, so that each side keeps about half of the holes."""
    bounds = sorted(hole.bounds for hole in polygon.interiors)
    left, right = float(bounds[len(bounds) // 2][0]), float(bounds[len(bounds) // 2][2])
    middle = (left + right) // 2
    # Cut between pixels if possible. A hole one pixel wide becomes a notch in the right side.
    x = middle if middle > left else left
    return x if x > polygon.bounds[0] else (left + right) / 2
