"""Polygons of one block, simplified consistently with neighbouring blocks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.masks.components import number_components
from handler.masks.label_map import LabelMap
from handler.masks.polygons import Polygon, outline_parts

#: Marks pixels without a polygon.
NO_PIECE = -1
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """The connected parts of classes in a block, in pixels from the raster's upper left corner, x right and y down."""

    #: n shapely polygons. They neither overlap with the pieces of other blocks nor leave gaps.
    polygons: npt.NDArray[np.object_]
    #: Class index, number of pixels and sum of their confidence (0 to 255) for each polygon, n.
    classes: Indices
    pixels: Indices
    confidence: Indices
    #: The piece at each pixel along the block's upper, lower, left and right edges, or `NO_PIECE`.
    edges: tuple[Indices, Indices, Indices, Indices]


def trace_pieces(
    labels: LabelMap,
    confidence: npt.NDArray[np.uint8],
    inner: tuple[slice, slice],
    area: tuple[slice, slice],
    tolerance: float,
    omitted: tuple[int, ...],
) -> Pieces:
    """Trace the connected parts of a block.

    Lines between two parts are simplified once for both. Points on the block's edge are kept, so that pieces of neighbouring
    blocks fit together.

    Args:
        labels: class indices of the block, and of one pixel around it where the raster continues.
        confidence: confidence of the block's pixels, h×w.
        inner: the block's rows and columns in `labels`.
        area: its rows and columns in the raster.
        tolerance: see `trace_polygons`.
        omitted: labels that get no polygons.
    """
    import shapely
    from rasterio import features

    ids, class_of = number_components(labels[inner], None)
    top, left = inner[0].start, inner[1].start
    parts: list[Polygon] = []
    owners: list[int] = []
    for shape, part in features.shapes(ids, connectivity=4):
        owners.append(int(part))
        parts.append([[(int(x) + left, int(y) + top) for x, y in ring] for ring in shape["coordinates"]])
    polygons = outline_parts(parts, labels.astype(np.int64))
    if tolerance:
        polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
    owner = np.array(owners)
    selected = np.flatnonzero(~np.isin(class_of[owner], omitted))
    piece_of = np.full(len(class_of), NO_PIECE)
    piece_of[owner[selected]] = np.arange(len(selected))
    offset = np.array([area[1].start - left, area[0].start - top])
    return Pieces(
        shapely.transform(polygons[selected], lambda points: points + offset),
        class_of[owner[selected]],
        _sum_by_part(None, ids, owner[selected]),
        _sum_by_part(confidence.ravel(), ids, owner[selected]),
        (piece_of[ids[0]], piece_of[ids[-1]], piece_of[ids[:, 0]], piece_of[ids[:, -1]]),
    )


def _sum_by_part(values: npt.NDArray[Any] | None, ids: npt.NDArray[np.int32], parts: Indices) -> Indices:
    """Sum `values` over the pixels of each part, or count the pixels if None."""
    # Sums of whole numbers below 2**53 are exact in floats.
    sums: Indices = np.bincount(ids.ravel(), weights=values, minlength=int(ids.max()) + 1)[parts].astype(np.int64)
    return sums
