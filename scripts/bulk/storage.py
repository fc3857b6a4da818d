"""Read files wherever they are: on this machine, at `http(s)://`, or in a store supported by fsspec, such as `s3://`."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, BinaryIO

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from scripts.bulk.errors import BulkError, FileTooLarge, ReadError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
#: The extra that installs each scheme's package.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_TIMEOUT_S = 60
_RETRIES = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Version:
    """Identifies a file's content, as far as possible without reading it."""

    size: int | None = None
    #: The store's ETag, or a local file's modification time; empty if unknown.
    etag: str = ""


UNKNOWN = Version()


@dataclass(frozen=True)
class Content:
    """A file's content and version."""

    data: bytes = field(repr=False)
    version: Version


def url_scheme(location: str) -> str:
    """Return a URL's scheme in lower case, or "" for a local path. `file://` is not recognised as a scheme."""
    match = _SCHEME.match(location)
    scheme = match[1].lower() if match else ""
    return "" if scheme == "file" else scheme


def is_http(location: str) -> bool:
    return url_scheme(location) in {"http", "https"}


def read_file(location: str, max_bytes: int) -> Content:
    """Read a file.

    Raises:
        FileTooLarge: the file has more than `max_bytes`.
        ReadError: the file cannot be read.
    """
    with reading(location), _open(location) as (file, version):
        if version.size is not None and version.size > max_bytes:
            raise FileTooLarge(f"the image has {version.size:,} bytes, the limit is {max_bytes:,}")
        data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise FileTooLarge(f"the image has more than {max_bytes:,} bytes, the limit")
    return Content(data, Version(len(data), version.etag))


def read_version(location: str) -> Version:
    """Return a file's current version.

    Raises:
        ReadError: the file cannot be read.
    """
    with reading(location):
        if is_http(location):
            with _session().head(location, timeout=_TIMEOUT_S, allow_redirects=True) as response:
                response.raise_for_status()
                return _http_version(response)
        if url_scheme(location):
            store, path = open_store(location)
            return stored_version(store.info(path))
        return local_version(Path(location))


@contextmanager
def open_file(location: str) -> Iterator[BinaryIO]:
    """Open a seekable file of any length, such as a list.

    Raises:
        ReadError: the file cannot be read.
    """
    with reading(location):
        if is_http(location):
            with _session().get(location, timeout=_TIMEOUT_S) as response:
                response.raise_for_status()
                yield io.BytesIO(response.content)
        elif url_scheme(location):
            store, path = open_store(location)
            with store.open(path, "rb") as file:
                yield file
        else:
            with Path(location).open("rb") as file:
                yield file


@cache
def _store(scheme: str) -> Any:
    import fsspec

    # Some need a host; without one they would be partly constructed and raise errors when garbage-collected.
    signature(fsspec.get_filesystem_class(scheme).__init__).bind(None)
    # No listings cache: the store's content may change during a run.
    return fsspec.filesystem(scheme, use_listings_cache=False)


def open_store(location: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        BulkError: no installed package can read such URLs.
    """
    scheme = url_scheme(location)
    try:
        store = _store(scheme)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        advice = f"install the extra: pip install '.[{extra}]'" if extra else f"install what fsspec needs for it: {error}"
        raise BulkError(f"{location}: the package for {scheme}:// is not installed; {advice}") from error
    except ValueError as error:
        raise BulkError(f"{location}: unknown scheme {scheme!r}; a path, s3://, gs://, http:// or https:// is read") from error
    except Exception as error:  # Each store has its own exceptions.
        raise BulkError(
            f"{location}: {scheme}:// needs more than a URL: {error}; a path, s3://, gs://, http:// or https:// is read"
        ) from error
    return store, store._strip_protocol(location)


def list_stored(location: str) -> Iterator[tuple[str, Version]]:
    """Yield the URLs and versions of the files below a URL, listed page by page in S3, folder by folder elsewhere.

    Raises:
        ReadError: the files cannot be listed.
    """
    store, path = open_store(location)
    with reading(location):
        for info in _list_s3(store, path) if "s3" in store.protocol else _list_folders(store, path):
            if not info["name"].endswith("/"):
                yield f"{url_scheme(location)}://{info['name']}", stored_version(info)


def _list_s3(store: Any, path: str) -> Iterator[dict[str, Any]]:
    # `find` would keep a kilobyte for every object in a bucket.
    bucket, _, prefix = path.partition("/")
    request = {"Bucket": bucket, "Prefix": f"{prefix.rstrip('/')}/" if prefix else ""}
    while True:
        page = store.call_s3("list_objects_v2", **request)
        for item in page.get("Contents", ()):
            yield {"name": f"{bucket}/{item['Key']}", "size": item["Size"], "ETag": item["ETag"]}
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _list_folders(store: Any, path: str) -> Iterator[dict[str, Any]]:
    for _, _, files in store.walk(path, detail=True, on_error="raise"):
        yield from (files[name] for name in sorted(files))


def digest_version(data: bytes) -> Version:
    """Return the version of a file from its content."""
    return Version(len(data), f"blake2b-{hashlib.blake2b(data, digest_size=16).hexdigest()}")


def local_version(path: Path) -> Version:
    """Return the version of a local file.

    Raises:
        OSError: the file does not exist.
    """
    status = path.stat()
    return Version(status.st_size, f"mtime-{status.st_mtime_ns}")


def stored_version(info: dict[str, Any]) -> Version:
    """Return the version of a file in a store, from fsspec's `info`."""
    etag = next((str(info[key]) for key in ("ETag", "etag", "e_tag", "LastModified", "updated", "mtime") if info.get(key)), "")
    return Version(info.get("size"), etag.strip('"'))


@contextmanager
def reading(location: str) -> Iterator[None]:
    """Convert the libraries' exceptions in the block to `ReadError`; each store has its own."""
    try:
        yield
    except BulkError:
        raise
    except requests.RequestException as error:
        raise ReadError(f"{location}: cannot be read: {_http_reason(error)}") from error
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError) and url_scheme(location)
        reason = "no such object, prefix or bucket" if is_missing else error.strerror or error
        raise ReadError(f"{location}: {reason}") from error
    except Exception as error:
        if not url_scheme(location):
            raise
        raise ReadError(f"{location}: cannot be read: {error}") from error


@contextmanager
def _open(location: str) -> Iterator[tuple[Any, Version]]:
    if is_http(location):
        with _session().get(location, timeout=_TIMEOUT_S, stream=True) as response:
            response.raise_for_status()
            yield _HttpBody(response), _http_version(response)
    elif url_scheme(location):
        store, path = open_store(location)
        version = stored_version(store.info(path))
        # One request for the whole file; a file object would read it in blocks.
        yield _StoredBody(store, path), version
    else:
        file_path = Path(location)
        with file_path.open("rb") as file:
            yield file, local_version(file_path)


class _HttpBody:
    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def read(self, max_bytes: int) -> bytes:
        data = bytearray()
        for chunk in self._response.iter_content(_CHUNK_BYTES):
            data += chunk
            if len(data) >= max_bytes:
                break
        return bytes(data[:max_bytes])


class _StoredBody:
    def __init__(self, store: Any, path: str) -> None:
        self._store, self._path = store, path

    def read(self, max_bytes: int) -> bytes:
        del max_bytes  # The size is known and was already checked.
        data: bytes = self._store.cat_file(self._path)
        return data


@cache
def _session() -> requests.Session:
    session = requests.Session()
    for prefix in ("http://", "https://"):
        session.mount(prefix, HTTPAdapter(max_retries=_RETRIES))
    return session


def _http_version(response: requests.Response) -> Version:
    # The length of a compressed response is not the file's.
    length = response.headers.get("Content-Length", "") if "Content-Encoding" not in response.headers else ""
    etag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return Version(int(length) if length.isdigit() else None, etag.removeprefix("W/").strip('"'))


def _http_reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}".rstrip()
    # After the last retry, urllib3's message begins with object reprs and repeats the address.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return str(reason or error).rpartition("): ")[2]
