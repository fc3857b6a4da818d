"""Finished blocks as files, from which an interrupted run continues."""

import io
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from model.atomic import write_atomically
from scripts.rasters.blocks import Block
from scripts.rasters.pieces import Pieces
from scripts.rasters.plan import BlockTask

_PLAN = "plan.json"
#: Level 1 of zlib: labels shrink to a hundredth at any level.
_LEVEL = 1


class Parts:
    """A folder of blocks that were made with one plan."""

    def __init__(self, folder: Path, plan: str) -> None:
        """Open the folder and remove blocks made with a different `plan`, a text of everything that determines them."""
        self._folder = folder
        plan_file = folder / _PLAN
        if not plan_file.is_file() or plan_file.read_text("utf-8") != plan:
            self.remove()
            write_atomically(plan_file, plan.encode())

    def missing(self, tasks: list[BlockTask]) -> list[BlockTask]:
        """Return the `tasks` that are not done."""
        return [task for task in tasks if not self._path(task).is_file()]

    def add(self, task: BlockTask, block: bytes) -> None:
        """Store an encoded block."""
        write_atomically(self._path(task), block)

    def load(self, task: BlockTask) -> Block:
        """Return a finished block."""
        return decode_block(self._path(task).read_bytes())

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, task: BlockTask) -> Path:
        row, column = task.place
        return self._folder / f"{row}-{column}.block"


def encode_block(block: Block) -> bytes:
    """Encode a block as bytes, deterministically."""
    arrays: dict[str, Any] = {"labels": block.labels, "confidence": block.confidence}
    if block.pieces is not None:
        arrays |= _pack_pieces(block.pieces)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return zlib.compress(file.getbuffer(), _LEVEL)


def decode_block(data: bytes) -> Block:
    """Decode the bytes from `encode_block`."""
    with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as arrays:
        pieces = _unpack_pieces(dict(arrays)) if "classes" in arrays else None
        return Block(arrays["labels"], arrays["confidence"], pieces)


def _pack_pieces(pieces: Pieces) -> dict[str, Any]:
    import shapely

    points, rings, parts = np.empty((0, 2)), np.zeros(1, np.int64), np.zeros(1, np.int64)
    if len(pieces.polygons):
        _, points, (rings, parts) = shapely.to_ragged_array(pieces.polygons)
    return {
        "points": points.astype(np.int32),  # Whole pixels: simplification only drops points.
        "rings": rings,
        "parts": parts,
        "classes": pieces.classes,
        "pixels": pieces.pixels,
        "sums": pieces.confidence,
        **{f"edge{side}": edge for side, edge in enumerate(pieces.edges)},
    }


def _unpack_pieces(arrays: dict[str, Any]) -> Pieces:
    import shapely

    polygons = np.empty(0, np.object_)
    if len(arrays["classes"]):
        points = arrays["points"].astype(np.float64)
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (arrays["rings"], arrays["parts"]))
    upper, lower, left, right = (arrays[f"edge{side}"] for side in range(4))
    return Pieces(polygons, arrays["classes"], arrays["pixels"], arrays["sums"], (upper, lower, left, right))
