"""Cut an image into overlapping tiles, resize them to the network's resolution, and blend the network's output for them.

An ordinary request uses a single tile. Each side of the image is divided into equal parts: a tile is `_LENGTH` parts long and
begins `_STEP` parts after the previous one. So neighbours share a quarter of a tile, and no point of a side lies in more than
two tiles.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from handler import aten
from handler.geometry import Box, DecodedImage, RGBImage, Size, network_size, resize_region
from model.metadata import ResizePolicy

_LENGTH, _STEP = 4, 3


@dataclass(frozen=True)
class Tile:
    """One of `count` × `count` tiles, each with the image's aspect ratio."""

    row: int
    column: int
    #: Tiles along each side of the image.
    count: int

    def box(self, size: Size) -> Box:
        """Return the tile's box in an image of `size`."""
        (top, bottom), (left, right) = (
            tuple(part * length / _parts(self.count) for part in (_STEP * index, _STEP * index + _LENGTH))
            for index, length in zip((self.row, self.column), size, strict=True)
        )
        return left, top, right, bottom


#: The single tile that covers the whole image.
WHOLE_IMAGE = Tile(row=0, column=0, count=1)


def list_tiles(count: int) -> list[Tile]:
    """List `count` × `count` tiles, row by row."""
    return [Tile(row, column, count) for row in range(count) for column in range(count)]


def resize_tile(image: DecodedImage, tile: Tile, size: Size) -> RGBImage:
    """Resize one tile of `image` to `size` (bilinear, antialiased): uint8 RGB h×w×3.

    A tile is cut from the image itself, between pixels if necessary. Pixels beyond its edges contribute as they would if the
    whole image were resized.
    """
    return resize_region(image.pixels, image.to_pixels(tile.box(image.size)), size)


def resize_to_network(image: DecodedImage, policy: ResizePolicy, scale: float = 1.0) -> RGBImage:
    """Resize the whole `image` to the network's resolution times `scale`: uint8 RGB h×w×3."""
    return resize_tile(image, WHOLE_IMAGE, network_size(policy, image.size, scale))


def min_untiled_size(tile_size: Size, count: int) -> Size:
    """Return the size of the smallest image from which `count` × `count` tiles of `tile_size` can be cut without upscaling."""
    height, width = (math.ceil(length * _parts(count) / _LENGTH) for length in tile_size)
    return height, width


def blend(probabilities: Mapping[Tile, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Blend the tiles' class probabilities into those of the whole image: float32 C×G×H.

    Where tiles overlap, their weights rise and fall linearly, so probabilities change smoothly from one tile to the next, and a
    tile counts least at its edges, where it sees the least context. Cells of the common grid are no larger than a tile's.

    Args:
        probabilities: C×h×w for every tile of the image, all of one shape, each cell summing to 1 over the classes.
    """
    (classes, height, width), count = next((values.shape, tile.count) for tile, values in probabilities.items())
    row_overlays = [_overlay_tile(height, index, count) for index in range(count)]
    column_overlays = [_overlay_tile(width, index, count) for index in range(count)]
    total = np.zeros((classes, _grid_length(height, count), _grid_length(width, count)), np.float32)
    for tile, values in probabilities.items():
        rows, columns = row_overlays[tile.row], column_overlays[tile.column]
        interpolated = columns.interpolate(rows.interpolate(values.swapaxes(1, 2)).swapaxes(1, 2))
        total[:, rows.cells, columns.cells] += interpolated * (rows.weight[:, None] * columns.weight)
    return total


class _Overlay(NamedTuple):
    """How a tile's cells map onto the common grid, along one side."""

    #: The cells of the common grid whose centres lie in the tile.
    cells: slice
    #: For each of these, the tile's cells on either side of its centre, and the weight of the second, 0..1.
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    fraction: npt.NDArray[np.float32]
    #: The tile's weight there; the weights of all tiles sum to 1.
    weight: npt.NDArray[np.float32]

    def interpolate(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Interpolate the tile's `values` along this side, their last dimension, at each of `cells`."""
        return aten.lerp(values[..., self.first], values[..., self.second], self.fraction)


def _overlay_tile(cells: int, index: int, count: int) -> _Overlay:
    """Map tile `index` of `count` tiles, each `cells` cells long."""
    grid = _grid_length(cells, count)
    # Centres of the common grid's cells, in parts from the tile's beginning.
    centre = (np.arange(grid) + 0.5) * (_parts(count) / grid) - _STEP * index
    start, end = np.searchsorted(centre, (0, _LENGTH))
    centre = centre[start:end]
    rising = centre if index > 0 else np.ones_like(centre)
    falling = _LENGTH - centre if index < count - 1 else np.ones_like(centre)
    position = np.clip(centre * (cells / _LENGTH) - 0.5, 0, cells - 1)
    first = position.astype(np.int64)
    return _Overlay(
        slice(start, end),
        first,
        np.minimum(first + 1, cells - 1),
        (position - first).astype(np.float32),
        np.minimum(np.minimum(rising, falling), 1).astype(np.float32),
    )


def _parts(count: int) -> int:
    return _STEP * count + _LENGTH - _STEP


def _grid_length(cells: int, count: int) -> int:
    """Return the length of the common grid along a side of `count` tiles of `cells` cells."""
    return -(-cells * _parts(count) // _LENGTH)
