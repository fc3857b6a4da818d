"""Find a run's images: files, folders, patterns, lists and URLs. Sources are walked lazily during the run."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import has_magic, iglob
from pathlib import Path, PurePosixPath
from typing import Protocol

from fsspec.utils import glob_translate

from scripts.bulk.entries import Entry, clean_name
from scripts.bulk.errors import BulkError
from scripts.bulk.lists import LIST_SUFFIXES, ImageList, ListColumns
from scripts.bulk.storage import (
    UNKNOWN,
    Version,
    is_http,
    list_stored,
    local_version,
    open_store,
    reading,
    stored_version,
    url_scheme,
)
from scripts.segment.inputs import image_suffixes, walk_files


class Source(Protocol):
    """A lazily listed source of images."""

    def entries(self) -> Iterator[Entry]:
        """Yield the images, every time in the same order.

        Raises:
            BulkError: the source is missing, holds no images, or cannot be read.
        """
        ...

    def count(self) -> int:
        """Count the images without reading them."""
        ...


def find_sources(locations: Sequence[str], out: str, columns: ListColumns) -> list[Source]:
    """Return the source for each location on the command line: a path, a pattern, a list or a URL.

    Args:
        locations: as typed by the user.
        out: the destination, which is skipped in folders that contain it.
        columns: columns to read from lists.

    Raises:
        BulkError: a location is missing, or is the destination itself.
    """
    return [_find_source(location.removeprefix("file://"), out, columns) for location in locations]


def _find_source(location: str, out: str, columns: ListColumns) -> Source:
    suffix = PurePosixPath(location.partition("?")[0]).suffix.lower()
    is_pattern = has_magic(location) and not is_http(location) and not os.path.lexists(location)
    if suffix in LIST_SUFFIXES and not is_pattern:
        return ImageList(location if url_scheme(location) else str(_require_path(location).absolute()), columns)
    if is_http(location):
        return _SingleFile(Entry(location, clean_name(location)))
    if url_scheme(location):
        return _StorePrefix(location, out) if is_pattern or not _is_object(location) else _stored_file(location)
    if is_pattern:
        return _LocalPattern(location, out)
    path = _require_path(location).absolute()
    if path.is_file():
        return _SingleFile(Entry(str(path), path.name, local_version(path)))
    if os.path.realpath(path) == os.path.realpath(out):
        raise BulkError(f"{location}: is the folder for answers; give --out another one")
    return _Folder(path, out)


def _require_path(location: str) -> Path:
    if not (path := Path(location)).exists():
        raise BulkError(f"{location}: no such file or folder")
    return path


@dataclass(frozen=True)
class _SingleFile:
    entry: Entry

    def entries(self) -> Iterator[Entry]:
        yield self.entry

    def count(self) -> int:
        return 1


class _Listing:
    """Entries of a location that may also hold other files."""

    location: str

    def _list_images(self) -> Iterator[Entry]:
        raise NotImplementedError

    def entries(self) -> Iterator[Entry]:
        is_empty = True
        for entry in self._list_images():
            is_empty = False
            yield entry
        if is_empty:
            raise BulkError(f"{self.location}: holds no images; these end in {', '.join(sorted(image_suffixes()))}")

    def count(self) -> int:
        return sum(1 for _ in self._list_images())


class _Folder(_Listing):
    """The images in a folder and its subfolders."""

    def __init__(self, path: Path, out: str) -> None:
        self.location = str(path)
        self._path = path
        self._out = os.path.realpath(out)

    def _list_images(self) -> Iterator[Entry]:
        suffixes = image_suffixes()
        with reading(self.location):
            for file in walk_files(self._path, self._out):
                if file.suffix.lower() in suffixes:
                    yield Entry(str(file), file.relative_to(self._path).as_posix(), _version(file))


class _LocalPattern(_Listing):
    """The images that match a pattern such as `photos/**/*.jpg`, named relative to its last folder without wildcards."""

    def __init__(self, pattern: str, out: str) -> None:
        self.location = pattern
        self._out = os.path.realpath(out)
        parts = Path(pattern).absolute().parts
        first = next(index for index, part in enumerate(parts) if has_magic(part))
        self._pattern, self._base = str(Path(*parts)), Path(*parts[:first])

    def _list_images(self) -> Iterator[Entry]:
        suffixes = image_suffixes()
        for name in iglob(self._pattern, recursive=True):  # noqa: PTH207 (Path.glob reads a folder whole)
            file = Path(name)
            if file.suffix.lower() in suffixes and file.is_file() and not _is_below(os.path.realpath(file), self._out):
                yield Entry(name, file.relative_to(self._base).as_posix(), _version(file))


class _StorePrefix(_Listing):
    """The images below a store's URL, or those that match a pattern in it."""

    def __init__(self, location: str, out: str) -> None:
        self.location = location
        self._out = out.rstrip("/")
        bucket_and_path = location.partition("://")[2].rstrip("/").split("/")
        first = next((index for index, part in enumerate(bucket_and_path) if has_magic(part)), len(bucket_and_path))
        if first == 0:
            raise BulkError(f"{location}: names no bucket")
        self._base = f"{url_scheme(location)}://{'/'.join(bucket_and_path[:first])}"
        self._relative_pattern = "/".join(bucket_and_path[first:])

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(glob_translate(self._relative_pattern) if self._relative_pattern else "(?s:.*)")

    def _list_images(self) -> Iterator[Entry]:
        suffixes = image_suffixes()
        for url, version in list_stored(self._base):
            name = url.removeprefix(f"{self._base}/")
            is_image = PurePosixPath(name).suffix.lower() in suffixes
            is_hidden = any(part.startswith(".") for part in name.split("/"))
            if is_image and not is_hidden and not _is_below(url, self._out) and self._pattern.fullmatch(name):
                yield Entry(url, name, version)


def _is_object(location: str) -> bool:
    """Return whether a URL names one object rather than a prefix.

    Raises:
        BulkError: the URL names neither.
    """
    store, path = open_store(location)
    with reading(location):
        try:
            kind: str = store.info(path)["type"]
        except FileNotFoundError as error:
            example = f"{url_scheme(location)}://bucket/photos"
            raise BulkError(
                f"{location}: no such object, prefix or bucket; give an image, a prefix that has images below it ({example}), "
                f"or a pattern ({example}/**/*.jpg)"
            ) from error
    return kind == "file"


def _stored_file(location: str) -> Source:
    store, path = open_store(location)
    with reading(location):
        return _SingleFile(Entry(location, PurePosixPath(path).name, stored_version(store.info(path))))


def _version(file: Path) -> Version:
    try:
        return local_version(file)
    except OSError:  # A broken link, for example; reading the file will report it.
        return UNKNOWN


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
