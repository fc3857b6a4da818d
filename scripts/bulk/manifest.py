"""The manifest: the results for all images, as Parquet files in the destination's folder `manifest`.

A run adds files and never changes existing ones. A path's last row counts; `finished` is the time when it was written.
"""

import hashlib
import io
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from scripts.bulk.destinations import Destination
from scripts.bulk.errors import BulkError
from scripts.bulk.images import DONE, FAILED, QUARANTINED, ImageResult, ImageTask
from scripts.bulk.storage import Version

FOLDER = "manifest"
#: Statuses that another attempt would not change; the next run retries all others.
FINAL = frozenset({DONE, FAILED, QUARANTINED})

_STAGES = ("read", "decode", "prepare", "network", "average", "refine", "label", "encode", "write")
_CLASS_FIELDS = ("index", "label", "pixels", "score")
_CLASS = pa.struct([("index", pa.int32()), ("label", pa.string()), ("pixels", pa.int64()), ("score", pa.float32())])
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("name", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("model", pa.string()),
        ("options", pa.string()),
        ("status", pa.string()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("seconds", pa.struct([(stage, pa.float32()) for stage in _STAGES])),
        ("classes", pa.list_(_CLASS)),
        ("review", pa.float32()),
        ("outputs", pa.list_(pa.string())),
        ("finished", pa.timestamp("ms", "UTC")),
    ]
)

#: A part is written once it has this many rows or reaches an age between the least and the most seconds. A killed run repeats
#: the work that is in no part yet: at most this fraction of its time, or the seconds of the first parts.
_MAX_PART_ROWS, _MIN_PART_AGE_S, _MAX_PART_AGE_S, _PART_AGE_SHARE = 5000, 5.0, 120.0, 0.02
_KEY_BYTES = 16


@dataclass(frozen=True)
class Conditions:
    """Everything that determines a run's answers besides the images."""

    #: SHA-256 of the archive's contents.
    model: str
    #: Digest of the formats and options.
    options: str

    def require_same(self, destination: object, recorded: "Conditions") -> None:
        """Check that recorded answers were made under the same conditions.

        Raises:
            BulkError: the recorded answers were made under different conditions.
        """
        if recorded != self:
            difference = "of another model" if recorded.model != self.model else "to other formats or options"
            raise BulkError(
                f"--out {destination}: holds answers {difference}, by its {FOLDER}; give another --out, "
                "or --overwrite to replace them"
            )


class ManifestWriter:
    """Collects rows and appends them as files."""

    def __init__(self, destination: Destination, conditions: Conditions) -> None:
        self._destination = destination
        self._conditions = conditions
        self._rows: list[dict[str, Any]] = []
        self._start = self._last_flush = time.monotonic()
        # Time first, then run: sorted by name, parts are in the order in which they were written.
        self._prefix = f"{FOLDER}/part-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
        self._parts = 0

    def add(self, task: ImageTask, result: ImageResult, attempts: int) -> None:
        """Add an image's row, and write a part if one is due.

        Raises:
            BulkError: the part cannot be written.
        """
        self._rows.append(
            {
                "path": printable(task.path),
                "name": printable(task.name),
                "size": result.version.size,
                "etag": result.version.etag,
                "model": self._conditions.model,
                "options": self._conditions.options,
                "status": result.status,
                "error_type": result.error_type or None,
                "error": printable(result.error) or None,
                "attempts": attempts,
                "width": result.width,
                "height": result.height,
                "seconds": dict(result.seconds),
                "classes": [dict(zip(_CLASS_FIELDS, image_class, strict=True)) for image_class in result.classes],
                "review": result.review,
                "outputs": [printable(name) for name in result.outputs],
                "finished": datetime.now(UTC),
            }
        )
        now = time.monotonic()
        max_age_s = min(_MAX_PART_AGE_S, max(_MIN_PART_AGE_S, _PART_AGE_SHARE * (now - self._start)))
        if len(self._rows) >= _MAX_PART_ROWS or now - self._last_flush >= max_age_s:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not in a part yet."""
        if self._rows:
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(self._rows, SCHEMA), file, compression="zstd")
            self._destination.write(f"{self._prefix}-{self._parts:06}.parquet", file.getvalue())
            self._parts += 1
            self._rows.clear()
        self._last_flush = time.monotonic()


def read_parts(destination: Destination, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the manifest's parts in the order in which they were written.

    Raises:
        BulkError: a file cannot be read.
    """
    for name in destination.names(FOLDER):
        if name.endswith(".parquet"):
            try:
                yield pq.read_table(io.BytesIO(destination.read(name)), columns=columns)
            except (pa.ArrowException, OSError) as error:
                raise BulkError(f"{destination}/{name}: is not a part of a manifest: {error}") from error


class FinishedImages:
    """The images that need no further attempt, at 32 bytes each: 32 MB for a million."""

    def __init__(self, destination: Destination, conditions: Conditions, *, retry_failed: bool = False) -> None:
        """Read the manifest.

        Args:
            destination: holds the manifest.
            conditions: this run's conditions.
            retry_failed: only count images that are done, not those that failed or are quarantined.

        Raises:
            BulkError: the manifest cannot be read, or has rows from different conditions.
        """
        keys, failed, paths = bytearray(), bytearray(), bytearray()
        columns = ["path", "size", "etag", "model", "options", "status"]
        for table in read_parts(destination, columns):
            for path, size, etag, model, options, status in _rows(table, columns):
                conditions.require_same(destination, Conditions(model, options))
                if status == DONE or (status in FINAL and not retry_failed):
                    key = version_key(path, Version(size, etag))
                    keys += key
                    failed += key if status != DONE else b""
                    paths += _digest(path)
        self._keys, self._failed, self._paths = map(_sorted_keys, (keys, failed, paths))

    def __len__(self) -> int:
        return int(self._keys.shape[1])

    def has(self, path: str, version: Version) -> bool:
        """Return whether this version of the image is finished."""
        return _contains(self._keys, version_key(printable(path), version))

    def has_failed(self, path: str, version: Version) -> bool:
        """Return whether this version of the image is finished without an answer."""
        return _contains(self._failed, version_key(printable(path), version))

    def has_any_version(self, path: str) -> bool:
        """Return whether any version of the image is finished."""
        return _contains(self._paths, _digest(printable(path)))


def list_answers(destination: Destination) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each image that is done and its answers' names, the latest ones if the image has changed.

    This reads the manifest twice, and keeps 24 bytes for each image.
    """
    digests = bytearray()
    for table in read_parts(destination, ["path", "status"]):
        for path, status in _rows(table, ["path", "status"]):
            digests += _digest(path) if status == DONE else b""
    is_last = iter(_mark_last(digests).tolist())
    for table in read_parts(destination, ["name", "outputs", "status"]):
        for name, outputs, status in _rows(table, ["name", "outputs", "status"]):
            if status == DONE and next(is_last):
                yield name, outputs


def _rows(table: pa.Table, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in columns), strict=True)


def _mark_last(digests: bytearray) -> npt.NDArray[np.bool_]:
    halves = np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)
    order = np.lexsort((np.arange(len(halves)), halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    is_last = np.ones(len(halves), bool)
    is_last[order[:-1]] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return is_last


def printable(text: str) -> str:
    """Return `text` in a form that Parquet can store: bytes of file names that are not UTF-8 are escaped."""
    return os.fsencode(text).decode(errors="backslashreplace") if not text.isascii() else text


def version_key(path: str, version: Version) -> bytes:
    """Return a 16-byte key for one version of an image."""
    return _digest(f"{path}\0{version.size}\0{version.etag}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=_KEY_BYTES).digest()


def _sorted_keys(keys: bytearray) -> npt.NDArray[np.uint64]:
    """Return the sorted keys as two rows, their first and second halves."""
    halves = np.frombuffer(bytes(keys), np.uint64).reshape(-1, 2)
    return halves[np.lexsort((halves[:, 1], halves[:, 0]))].T.copy()


def _contains(keys: npt.NDArray[np.uint64], key: bytes) -> bool:
    first, second = np.frombuffer(key, np.uint64)
    start, stop = (int(np.searchsorted(keys[0], first, side)) for side in ("left", "right"))
    return bool((keys[1, start:stop] == second).any())
