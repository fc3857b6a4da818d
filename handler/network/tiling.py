"""Overlapping tiles of an image far above the network's resolution, and how their answers are blended to one.

Each side is divided into equal parts. A tile has `_LENGTH` of them and begins `_STEP` after the one before it, so it shares a
quarter of itself with each neighbour. Along a side no point lies in more than two tiles.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from handler.geometry import Box, DecodedImage, RGBImage, Size, network_size, resized
from model.metadata import ResizePolicy

_LENGTH, _STEP = 4, 3


@dataclass(frozen=True)
class Tile:
    """One of `count` × `count` tiles, all of the image's own aspect ratio."""

    row: int
    column: int
    #: Tiles along each side of the image.
    count: int

    def box(self, size: Size) -> Box:
        """In an image of `size`."""
        (top, bottom), (left, right) = (
            tuple(part * length / _parts(self.count) for part in (_STEP * index, _STEP * index + _LENGTH))
            for index, length in zip((self.row, self.column), size, strict=True)
        )
        return left, top, right, bottom


#: The only tile of one: all of the image.
WHOLE = Tile(row=0, column=0, count=1)


def prepare_tiles(image: DecodedImage, policy: ResizePolicy, count: int, scale: float = 1.0) -> Iterator[tuple[Tile, RGBImage]]:
    """Each of `count` × `count` tiles of `image`, resized to what the network sees of an image of that aspect ratio.

    Every tile is made from the image itself, its edges between pixels if need be; pixels beyond them count as they would
    where the whole image is resized.
    """
    size = network_size(policy, image.size, scale)
    for row in range(count):
        for column in range(count):
            tile = Tile(row, column, count)
            yield tile, resized(image.pixels, image.to_pixels(tile.box(image.size)), size)


def least_size(size: Size, count: int) -> Size:
    """Of an image of which `count` × `count` tiles of `size` can be made without enlarging any."""
    height, width = (math.ceil(length * _parts(count) / _LENGTH) for length in size)
    return height, width


def blend(probabilities: Mapping[Tile, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The classes' probabilities over the whole image, from those of each tile: float32 C×G×H.

    Where tiles overlap, their weights rise and fall linearly: probabilities pass from one to the other without a jump, and what
    a tile says of its edges, of whose surroundings it sees least, counts least. The common grid's cells are no larger than a
    tile's.

    Args:
        probabilities: C×h×w of every tile of an image, of one shape, each cell's sum over the classes 1.
    """
    (classes, height, width), count = next((each.shape, tile.count) for tile, each in probabilities.items())
    down, across = ([_overlay(cells, index, count) for index in range(count)] for cells in (height, width))
    total = torch.zeros(classes, _grid(height, count), _grid(width, count))
    for tile, each in probabilities.items():
        rows, columns = down[tile.row], across[tile.column]
        values = columns.interpolate(rows.interpolate(torch.from_numpy(each).mT).mT)
        total[:, rows.place, columns.place] += values * (rows.weight[:, None] * columns.weight)
    blended: npt.NDArray[np.float32] = total.numpy()
    return blended


class _Overlay(NamedTuple):
    """Along one side, how a tile's cells come to lie on the common grid."""

    #: The cells of the common grid whose centres lie in the tile.
    place: slice
    #: For each of them the tile's cells on either side of its centre, and how near it is to the second, 0..1.
    first: torch.Tensor
    second: torch.Tensor
    nearness: torch.Tensor
    #: What the tile counts there; over all tiles the sum is 1.
    weight: torch.Tensor

    def interpolate(self, values: torch.Tensor) -> torch.Tensor:
        """The tile's `values`, whose last dimension is this side, at the cells of `place`."""
        return torch.lerp(values[..., self.first], values[..., self.second], self.nearness)


def _overlay(cells: int, index: int, count: int) -> _Overlay:
    """For tile `index` of `count`, of which each has so many `cells`."""
    grid = _grid(cells, count)
    # Of the common grid's centres, in parts from the tile's beginning.
    centre = (np.arange(grid) + 0.5) * (_parts(count) / grid) - _STEP * index
    begin, end = np.searchsorted(centre, (0, _LENGTH))
    centre = centre[begin:end]
    rising = centre if index > 0 else np.ones_like(centre)
    falling = _LENGTH - centre if index < count - 1 else np.ones_like(centre)
    position = np.clip(centre * (cells / _LENGTH) - 0.5, 0, cells - 1)
    first = position.astype(np.int64)
    return _Overlay(
        slice(begin, end),
        torch.from_numpy(first),
        torch.from_numpy(np.minimum(first + 1, cells - 1)),
        torch.from_numpy((position - first).astype(np.float32)),
        torch.from_numpy(np.minimum(np.minimum(rising, falling), 1).astype(np.float32)),
    )


def _parts(count: int) -> int:
    return _STEP * count + _LENGTH - _STEP


def _grid(cells: int, count: int) -> int:
    """Cells of the common grid along a side, where each of `count` tiles has `cells`."""
    return -(-cells * _parts(count) // _LENGTH)
