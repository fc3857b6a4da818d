"""Join blocks' pieces into polygons of the whole raster, in bounded memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scripts.rasters.pieces import NO_PIECE, Indices, Pieces
from scripts.rasters.plan import BlockTask

if TYPE_CHECKING:
    import shapely

#: Most vertices of unfinished polygons to hold, at 100 bytes each while they are joined. Beyond this, the largest polygon is
#: written in parts.
MAX_VERTICES = 4_000_000


@dataclass(frozen=True)
class Feature:
    """A connected part of a class, in pixels from the raster's upper left corner."""

    polygon: "shapely.Polygon"
    class_index: int
    pixels: int
    #: The mean probability of its pixels' class.
    score: float


class _Piece(NamedTuple):
    """A piece that touches the edge of its block: the block's number, and the piece's number in the block."""

    block: int
    number: int


#: A block's number, the pieces along one of its edges, and the classes of its pieces.
_Edge = tuple[int, Indices, Indices]


class PieceIndex:
    """Tracks which pieces of neighbouring blocks belong together. Blocks are added row by row."""

    def __init__(self) -> None:
        self._parents: dict[_Piece, _Piece] = {}
        #: The lower edges of the blocks above, by column, and the right edge of the previous block.
        self._above: dict[int, _Edge] = {}
        self._previous_right: _Edge = (0, np.empty(0, np.int64), np.empty(0, np.int64))
        self._blocks = 0

    def add(self, task: BlockTask, pieces: Pieces) -> None:
        """Add the next block's pieces."""
        block, (row, column) = self._blocks, task.place
        self._blocks += 1
        upper, lower, left, right = pieces.edges
        for number in np.unique(np.concatenate(pieces.edges)):
            if number != NO_PIECE:
                self._parents[_Piece(block, int(number))] = _Piece(block, int(number))
        classes = np.append(pieces.classes, NO_PIECE)
        if row:
            self._connect(self._above[column], (block, upper, classes))
        if column:
            self._connect(self._previous_right, (block, left, classes))
        self._above[column] = (block, lower, classes)
        self._previous_right = (block, right, classes)

    def last_blocks(self) -> dict[_Piece, int]:
        """Return the number of the last block that each polygon reaches, by the polygon's first piece."""
        last: dict[_Piece, int] = {}
        for piece in self._parents:
            first = self.find(piece)
            last[first] = max(last.get(first, 0), piece.block)
        return last

    def find(self, piece: _Piece) -> _Piece:
        """Return the first piece of the polygon to which `piece` belongs."""
        path = []
        while (parent := self._parents[piece]) != piece:
            path.append(piece)
            piece = parent
        for visited in path:
            self._parents[visited] = piece
        return piece

    def __contains__(self, piece: _Piece) -> bool:
        return piece in self._parents

    def _connect(self, first: _Edge, second: _Edge) -> None:
        (first_block, first_edge, first_classes), (second_block, second_edge, second_classes) = first, second
        same = (first_classes[first_edge] == second_classes[second_edge]) & (first_edge != NO_PIECE) & (second_edge != NO_PIECE)
        for first_number, second_number in np.unique(np.stack([first_edge[same], second_edge[same]], 1), axis=0).tolist():
            roots = sorted((self.find(_Piece(first_block, first_number)), self.find(_Piece(second_block, second_number))))
            self._parents[roots[1]] = roots[0]


class _Pending:
    """A polygon that may have further pieces."""

    def __init__(self) -> None:
        self._pieces: list[Feature] = []
        self.vertices = 0

    def add(self, piece: Feature, vertices: int) -> None:
        self._pieces.append(piece)
        self.vertices += vertices

    def join(self) -> Feature:
        """Return the whole polygon."""
        import shapely

        if len(self._pieces) == 1:
            return self._pieces[0]
        pixels = sum(piece.pixels for piece in self._pieces)
        score = sum(piece.score * piece.pixels for piece in self._pieces) / pixels
        polygon = shapely.coverage_union_all([piece.polygon for piece in self._pieces])
        return Feature(polygon, self._pieces[0].class_index, pixels, score)

    def cut(self) -> Iterator[Feature]:
        """Return the pieces collected so far, cut along block edges."""
        return iter(self._pieces)


def join_pieces(blocks: Iterable[Pieces], index: PieceIndex, max_vertices: int = MAX_VERTICES) -> Iterator[Feature]:
    """Join the pieces of all blocks; yield polygons as they become complete.

    Args:
        blocks: the pieces of each block, in the order in which they were added to `index`.
        index: has had all blocks added.
        max_vertices: most vertices of unfinished polygons; beyond it, the largest polygon is yielded piece by piece.
    """
    import shapely

    last_blocks = index.last_blocks()
    pending: dict[_Piece, _Pending] = defaultdict(_Pending)
    for block, pieces in enumerate(blocks):
        counts = shapely.get_num_coordinates(pieces.polygons)
        for number in range(len(pieces.polygons)):
            piece, feature = _Piece(block, number), _feature(pieces, number)
            if piece in index:
                pending[index.find(piece)].add(feature, int(counts[number]))
            else:
                yield feature
        for first in [first for first in pending if last_blocks[first] <= block]:
            yield pending.pop(first).join()
        while sum(polygon.vertices for polygon in pending.values()) > max_vertices:
            largest = max(pending, key=lambda first: pending[first].vertices)
            yield from pending.pop(largest).cut()


def _feature(pieces: Pieces, number: int) -> Feature:
    pixels = int(pieces.pixels[number])
    score = int(pieces.confidence[number]) / 255 / pixels
    return Feature(pieces.polygons[number], int(pieces.classes[number]), pixels, score)
