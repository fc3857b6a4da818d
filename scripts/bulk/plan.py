"""Decide what to do: name every answer, and skip finished images."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from handler.answers import FORMATS
from scripts.bulk.entries import Entry
from scripts.bulk.errors import ReadError
from scripts.bulk.images import FAILED, ImageResult, ImageTask
from scripts.bulk.manifest import FinishedImages, printable
from scripts.bulk.sources import Source
from scripts.bulk.storage import Version, read_version, url_scheme
from scripts.segment.inputs import image_suffixes

#: Concurrent requests for the versions of finished images.
_CONCURRENT_REQUESTS = 32


@dataclass(frozen=True)
class Skipped:
    """An image that an earlier run finished."""

    entry: Entry
    #: Whether it was finished without an answer.
    has_failed: bool


@dataclass(frozen=True)
class Refused:
    """An image whose answer would overwrite another image's."""

    task: ImageTask
    result: ImageResult


@dataclass
class Plan:
    """Turns sources' entries into tasks, one at a time."""

    sources: Sequence[Source]
    #: File name suffixes of the answers by format, such as `{"png": ".png"}`.
    suffixes: Mapping[str, str]
    finished: FinishedImages
    keep_suffix: bool = False
    _names: "_HashSet" = field(init=False, default_factory=lambda: _HashSet())

    def steps(self) -> Iterator[ImageTask | Skipped | Refused]:
        """Yield what to do with each image, in the order of the sources.

        An image that is listed twice counts once, under its first name.

        Raises:
            BulkError: a source cannot be read.
        """
        listed_paths = _HashSet()
        for source in self.sources:
            for entry, version in self._with_versions(source.entries()):
                if listed_paths.add(entry.path):
                    yield self._step(entry, version)

    def _step(self, entry: Entry, version: Version) -> ImageTask | Skipped | Refused:
        outputs = self._outputs(entry.name)
        is_free = self._names.add(outputs[0][1])
        if self.finished.has(entry.path, version):
            return Skipped(entry, self.finished.has_failed(entry.path, version))
        if is_free:
            return ImageTask(entry.path, entry.name, outputs, version, entry.data)
        reason = f"another image has the answer {outputs[0][1]}; with --keep-suffix photo.jpg becomes photo.jpg.png"
        task = ImageTask(entry.path, entry.name, outputs, version)
        return Refused(task, ImageResult(FAILED, version, "NameTaken", reason))

    def _with_versions(self, entries: Iterator[Entry]) -> Iterator[tuple[Entry, Version]]:
        """Fetch the current versions of images whose listing lacks them, if needed to decide whether they are finished."""
        pending: deque[tuple[Entry, Future[Version] | None]] = deque()
        with ThreadPoolExecutor(_CONCURRENT_REQUESTS, thread_name_prefix="version") as pool:
            for entry in entries:
                needs_request = not entry.version.etag and url_scheme(entry.path) and self.finished.has_any_version(entry.path)
                if needs_request or pending:
                    pending.append((entry, pool.submit(_current_version, entry) if needs_request else None))
                else:
                    yield entry, entry.version
                while len(pending) > _CONCURRENT_REQUESTS or (pending and not needs_request):
                    yield _with_version(*pending.popleft())
            while pending:
                yield _with_version(*pending.popleft())

    def _outputs(self, name: str) -> tuple[tuple[str, str], ...]:
        # The manifest, which lists the names, and stores can only hold text.
        name = printable(name)
        path = PurePosixPath(name)
        if not self.keep_suffix and path.suffix.lower() in image_suffixes():
            name = str(path.with_suffix(""))
        return tuple((format_name, f"{name}{suffix}") for format_name, suffix in self.suffixes.items())


def answer_suffixes(formats: Sequence[str]) -> dict[str, str]:
    """Return the suffix of each format's files; formats that share a suffix add their names, as in `.coco.json`."""
    base_suffixes = [FORMATS[name].suffix for name in formats]
    return {
        name: suffix if base_suffixes.count(suffix) == 1 else f".{name}{suffix}"
        for name, suffix in zip(formats, base_suffixes, strict=True)
    }


def _current_version(entry: Entry) -> Version:
    try:
        return read_version(entry.path)
    except ReadError:  # The task will report the error.
        return entry.version


def _with_version(entry: Entry, future: Future[Version] | None) -> tuple[Entry, Version]:
    return entry, future.result() if future else entry.version


class _HashSet:
    """A set of texts by 64-bit hash: 16 to 32 MB for a million, a sixth of a Python set of numbers."""

    def __init__(self) -> None:
        self._table = np.zeros(1 << 12, np.uint64)
        self._count = 0

    def add(self, text: str) -> bool:
        """Add `text`; return whether it is new."""
        digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()
        if not self._insert(int.from_bytes(digest) or 1):
            return False
        self._count += 1
        if 2 * self._count > len(self._table):
            values = self._table[self._table != 0].tolist()
            self._table = np.zeros(2 * len(self._table), np.uint64)
            for value in values:
                self._insert(value)
        return True

    def _insert(self, value: int) -> bool:
        mask = len(self._table) - 1
        index = value & mask
        while slot := int(self._table[index]):
            if slot == value:
                return False
            index = (index + 1) & mask
        self._table[index] = value
        return True
