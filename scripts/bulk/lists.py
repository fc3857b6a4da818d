"""Lists of images: text files with paths, CSV files, and Parquet files with a column of paths or of file contents."""

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from model.strict import name_hint
from scripts.bulk.entries import Entry, clean_name
from scripts.bulk.errors import BulkError
from scripts.bulk.storage import UNKNOWN, Version, digest_version, local_version, open_file, url_scheme
from scripts.text_file import detect_encoding

#: Columns to look for if none is named.
USUAL_COLUMNS = ("path", "image", "file", "file_name", "filename", "url", "uri", "image_path", "bytes")
_DELIMITERS = ",;\t|"
_ROWS, _ROWS_WITH_BYTES = 4096, 16


@dataclass(frozen=True)
class ListColumns:
    """The columns to read from a list."""

    #: Column of paths or file contents; None for the first of `USUAL_COLUMNS` that exists.
    image: str | None = None
    #: Column that names the answers; None to use the paths.
    name: str | None = None


@dataclass(frozen=True)
class ImageList:
    """A list at a path or URL. Relative paths in it are resolved from its folder, or else from the working directory."""

    location: str
    columns: ListColumns = ListColumns()

    def entries(self) -> Iterator[Entry]:
        """Read the list row by row; see `sources.Source`."""
        row = 0
        for row, (value, name) in enumerate(self._rows(), start=1):
            yield self._entry(row, value, name)
        if not row:
            raise BulkError(f"{self.location}: the list names no images")

    def count(self) -> int:
        if self._is_parquet:
            with open_file(self.location) as file, _parquet(self.location, file) as table:
                rows: int = table.metadata.num_rows
                return rows
        return sum(1 for _ in self._rows())

    @property
    def _is_parquet(self) -> bool:
        return _suffix(self.location) == ".parquet"

    def _rows(self) -> Iterator[tuple[Any, str | None]]:
        return _READERS[_suffix(self.location)](self.location, self.columns)

    def _entry(self, row: int, value: Any, name: str | None) -> Entry:
        place = f"{self.location}#{row}"
        if isinstance(value, dict):  # How Hugging Face's datasets store images.
            name = name or value.get("path")
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            stem = Path(self.location).stem
            return Entry(place, clean_name(name or f"{stem}-{row:09}"), digest_version(value), value)
        if not isinstance(value, str) or not value:
            return Entry(place, clean_name(name or f"row-{row}"))
        path = self._resolve(value)
        return Entry(path, clean_name(name or value), _known_version(path))

    def _resolve(self, path: str) -> str:
        if url_scheme(path):
            return path
        if url_scheme(self.location):
            return path if path.startswith("/") else posixpath.join(posixpath.dirname(self.location), path)
        sibling = Path(self.location).parent / path.removeprefix("file://")
        return str(sibling if sibling.exists() else Path(path.removeprefix("file://")).absolute())


def _known_version(path: str) -> Version:
    if url_scheme(path):
        return UNKNOWN
    try:
        return local_version(Path(path))
    except (OSError, ValueError):
        return UNKNOWN


def _suffix(location: str) -> str:
    return Path(location.partition("?")[0] if url_scheme(location) else location).suffix.lower()


@contextmanager
def _text(location: str) -> Iterator[TextIO]:
    with open_file(location) as file:
        encoding, mark = detect_encoding(file.read(1024))
        file.seek(mark)
        try:
            yield io.TextIOWrapper(file, encoding, newline="")
        except UnicodeDecodeError as error:
            raise BulkError(f"{location}: is not {encoding.upper()}; save the list as UTF-8") from error


def _text_rows(location: str, columns: ListColumns) -> Iterator[tuple[str, None]]:
    del columns
    with _text(location) as text:
        for line in text:
            if (path := line.strip("\ufeff \t\v\f\r\n\0")) and not path.startswith("#"):
                yield path, None


def _csv_rows(location: str, columns: ListColumns) -> Iterator[tuple[str | None, str | None]]:
    with _text(location) as text:
        header = text.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        names = [name.strip("\ufeff ") for name in next(csv.reader([header], delimiter=delimiter), [])]
        image = names.index(_image_column(location, names, columns.image))
        name = names.index(_require_column(location, names, columns.name)) if columns.name else None
        try:
            for row in csv.reader(text, delimiter=delimiter):
                if row:
                    yield _cell(row, image), None if name is None else _cell(row, name)
        except csv.Error as error:
            raise BulkError(f"{location}: is not a CSV file: {error}") from error


def _cell(row: Sequence[str], index: int) -> str | None:
    return row[index].strip() if index < len(row) else None


def _parquet_rows(location: str, columns: ListColumns) -> Iterator[tuple[Any, str | None]]:
    with open_file(location) as file, _parquet(location, file) as table:
        schema = table.schema_arrow
        image = _image_column(location, schema.names, columns.image)
        name = _require_column(location, schema.names, columns.name) if columns.name else None
        column_type = schema.field(image).type
        holds_files = not (pa.types.is_string(column_type) or pa.types.is_large_string(column_type))
        rows = _ROWS_WITH_BYTES if holds_files else _ROWS
        for batch in table.iter_batches(rows, columns=[image, *([name] if name else [])], use_threads=False):
            names = batch.column(name).to_pylist() if name else [None] * batch.num_rows
            for value, image_name in zip(batch.column(image), names, strict=True):
                yield value.as_py(), None if image_name is None else str(image_name)


@contextmanager
def _parquet(location: str, file: BinaryIO) -> Iterator[pq.ParquetFile]:
    try:
        table = pq.ParquetFile(file, pre_buffer=False)
    except (pa.ArrowInvalid, pa.ArrowIOError) as error:
        raise BulkError(f"{location}: is not a Parquet file: {error}") from error
    with table:
        yield table


def _image_column(location: str, names: Sequence[str], requested: str | None) -> str:
    if requested:
        return _require_column(location, names, requested)
    lower = {name.lower(): name for name in reversed(names)}
    for name in USUAL_COLUMNS:
        if name in lower:
            return lower[name]
    raise BulkError(
        f"{location}: which column holds the images? It has {', '.join(names) or 'none'}; choose with --list-column "
        "(a list with only paths is a .txt file)"
    )


def _require_column(location: str, names: Sequence[str], name: str) -> str:
    if name not in names:
        raise BulkError(f"{location}: has no column {name!r}{name_hint(name, names)}")
    return name


_READERS = {
    ".txt": _text_rows,
    ".lst": _text_rows,
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".parquet": _parquet_rows,
}
LIST_SUFFIXES = frozenset(_READERS)
