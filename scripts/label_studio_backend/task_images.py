"""Fetch the images that tasks refer to, only from sources that the operator has allowed.

Anyone who can edit tasks chooses these addresses, and this program may reach hosts that they cannot. So it contacts only Label
Studio and the hosts named with `--allow-host`, also for redirects; the token is only sent for Label Studio's files; local files
are only read below one folder, if at all.
"""

import base64
import binascii
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urljoin, urlsplit

import requests

from scripts.label_studio_backend.api_token import ApiToken
from scripts.label_studio_backend.errors import ImageNotFound, TaskError

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16
_CONNECT_TIMEOUT_S = 10.0
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
#: Paths under which Label Studio serves tasks' files.
_FILE_PATHS = ("/data/", "/storage-data/", "/tasks/")


@dataclass(frozen=True)
class ImageSources:
    """Where images may come from, and how large they may be."""

    #: Without a trailing slash; empty if there is none.
    label_studio_url: str = ""
    #: Host names, or patterns such as `*.example.com`.
    allowed_hosts: Sequence[str] = ()
    #: Label Studio's `LOCAL_FILES_DOCUMENT_ROOT`; if None, local files are fetched from Label Studio.
    local_files: Path | None = None
    max_bytes: int = 32_000_000
    #: Total time for one image, in seconds.
    timeout_s: float = 60.0


class TaskImages:
    """Fetches images. Several threads may use it at once."""

    def __init__(self, sources: ImageSources, token: str = "") -> None:
        self._sources = sources
        self._base = urlsplit(sources.label_studio_url)
        self._token = ApiToken(sources.label_studio_url, token) if token else None
        self._session = requests.Session()

    def fetch(self, reference: str, task_id: object = None) -> bytes:
        """Return the file at `reference`, a task's value: a URL, a path of Label Studio, or a `data:` URI.

        Raises:
            TaskError: the file's source is not allowed, or the file cannot be fetched or is too large.
        """
        match = _SCHEME.match(reference)
        scheme = match[1].lower() if match else ""
        if scheme == "data":
            return self._require_size(_from_data_uri(reference))
        if scheme in ("http", "https"):
            return self._download(reference)
        if scheme == "file" or (self._sources.local_files and reference.startswith("/data/local-files/")):
            return self._read_file(reference)
        if scheme:  # Cloud storage, for which Label Studio has the keys.
            return self._download(self._label_studio_url(f"/tasks/{task_id}/presign/?fileuri={quote(reference, safe='')}"))
        path = f"/data/{reference.lstrip('/')}" if reference.lstrip("/").startswith("upload/") else reference
        if not path.startswith(_FILE_PATHS):
            raise TaskError(f"{reference[:200]!r} is not a URL, a data: URI or a path of Label Studio's files")
        try:
            return self._download(self._label_studio_url(path))
        except ImageNotFound:
            if not path.startswith("/data/upload/"):
                raise
            # Label Studio serves uploads at another path if it keeps them in cloud storage.
            key = quote(unquote(path.removeprefix("/data/")))
            return self._download(self._label_studio_url(f"/storage-data/uploaded/?filepath={key}"))

    def _label_studio_url(self, path: str) -> str:
        if not self._base.scheme:
            raise TaskError(f"{_redact(path)}: is a path of Label Studio; give its address with --label-studio-url")
        return self._sources.label_studio_url + path

    def _download(self, url: str) -> bytes:
        deadline = time.monotonic() + self._sources.timeout_s
        for _ in range(_MAX_REDIRECTS + 1):
            self._require_allowed(url)
            try:
                with self._session.get(
                    url,
                    headers=self._headers(url),
                    stream=True,
                    allow_redirects=False,
                    timeout=(min(_CONNECT_TIMEOUT_S, self._sources.timeout_s), self._sources.timeout_s),
                ) as response:
                    if not response.is_redirect:
                        return self._read_body(response, deadline)
                    url = urljoin(url, response.headers["Location"])
            except requests.RequestException as error:
                raise TaskError(f"{_redact(url)}: no answer ({type(error).__name__})") from error
        raise TaskError(f"{_redact(url)}: more than {_MAX_REDIRECTS} redirects")

    def _require_allowed(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError as error:
            raise TaskError(f"{url[:200]!r} is not a URL ({error})") from error
        if parts.scheme not in ("http", "https") or not host:
            raise TaskError(f"{url[:200]!r} is not an http URL")
        if ".." in unquote(parts.path).replace("\\", "/").split("/"):
            raise TaskError(f"{_redact(url)}: has '..' in its path")
        if not self._is_label_studio(url) and not any(fnmatchcase(host, name.lower()) for name in self._sources.allowed_hosts):
            raise TaskError(f"{_redact(url)}: images may not come from {host!r}; allow it with --allow-host {host}")

    def _is_label_studio(self, url: str) -> bool:
        return bool(self._base.scheme) and _origin(url) == _origin(self._sources.label_studio_url)

    def _headers(self, url: str) -> dict[str, str]:
        path = urlsplit(url).path.removeprefix(self._base.path)
        if self._token and self._is_label_studio(url) and path.startswith(_FILE_PATHS):
            return {"Authorization": self._token.authorization(self._session, self._sources.timeout_s)}
        return {}

    def _read_body(self, response: requests.Response, deadline: float) -> bytes:
        address = _redact(response.url)
        if response.status_code == requests.codes.not_found:
            raise ImageNotFound(f"{address}: answered 404")
        if response.status_code != requests.codes.ok:
            hint = "; is LABEL_STUDIO_API_KEY right?" if response.status_code in (401, 403) else ""
            raise TaskError(f"{address}: answered {response.status_code}{hint}")
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._sources.max_bytes:
                break
            if time.monotonic() > deadline:
                raise TaskError(f"{address}: not received within {self._sources.timeout_s:g} s")
        return self._require_size(bytes(body), address)

    def _read_file(self, reference: str) -> bytes:
        parts, root = urlsplit(reference), self._sources.local_files
        if root is None:
            raise TaskError(f"{_redact(reference)}: local files are only read below --local-files")
        name = parse_qs(parts.query).get("d", [""])[0] if parts.scheme != "file" else unquote(parts.path)
        try:
            # Links are resolved first, since one may lead out of the folder. An absolute path replaces the root.
            path = (root / name).resolve(strict=True)
            if not path.is_relative_to(root.resolve()) or not path.is_file():
                raise TaskError(f"{name!r}: is not a file below {root}")
            with path.open("rb") as file:
                return self._require_size(file.read(self._sources.max_bytes + 1), name)
        except (OSError, ValueError) as error:
            raise TaskError(f"{name!r}: is not a file below {root}") from error

    def _require_size(self, body: bytes, address: str = "the data: URI") -> bytes:
        if len(body) > self._sources.max_bytes:
            raise TaskError(f"{address}: more than {self._sources.max_bytes:,} bytes; raise --max-bytes")
        return body


def _from_data_uri(uri: str) -> bytes:
    header, comma, text = uri.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise TaskError(f"the data: URI should be base64; it begins {header[:40]!r}")
    try:
        return base64.b64decode("".join(unquote(text).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TaskError(f"the data: URI is not base64 ({error})") from error


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _redact(url: str) -> str:
    """Return `url` without its query, which may hold a signature, and without any password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:200] if host else parts.path[:200]
