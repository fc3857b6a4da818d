"""Extract archives into a cache folder by digest, and sweep out extractions that are no longer served.

A process locks the folders that it uses (`flock` on the folder itself) until it ends, however it ends. Imports only the
standard library, and a signature library if signatures are checked.
"""

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from handler.servers.asgi.signatures import SignatureError, verify

#: The number of most recently used extractions to keep even if no process uses them.
_MAX_UNUSED = 3
#: Unfinished folders are kept for this long, since a folder that is being written has no lock.
_UNFINISHED_MAX_AGE_S = 600
_EXTRACTED = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"[0-9a-f]{32}\..+")
_MANIFEST = "MAR-INF/MANIFEST.json"
#: `RuntimeError` means encrypted, or compressed with a method that Python does not support.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


class UnpackError(Exception):
    """An archive cannot be extracted."""


def unpack(archive: Path, cache: Path | None = None, keys: Sequence[Path] = ()) -> Path:
    """Return a folder with the contents of `archive`, extracted now or at an earlier start, and locked until this process ends.

    The folder appears atomically: several servers may start at once, and any of them may be killed.

    Args:
        archive: a `.mar` file, or a folder with its extracted contents.
        cache: where to extract to, or None for the user's cache folder.
        keys: public key files; `archive` must be signed with one of them. Empty to skip the check.

    Raises:
        UnpackError: `archive` is not a zip file with a manifest, it is not signed with one of the keys, or the folder cannot
            be written or is writable by other users.
    """
    if archive.is_dir():
        if keys:
            raise UnpackError(f"{archive}: a folder, which has no signature; with --verify-key, name the .mar file")
        return archive.resolve()
    cache_folder = (cache or _default_cache()).resolve()
    try:
        cache_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # One handle for digest and extraction: the file may be replaced in between.
        with _open_verified(archive, cache_folder, keys) as file:
            folder = cache_folder / hashlib.file_digest(file, "sha256").hexdigest()[:32]
            while not _lock_folder(folder):  # Another server may sweep it out at this moment.
                _extract(archive, file, folder)
    except SignatureError as error:
        raise UnpackError(str(error)) from error
    except _BROKEN_ZIP as error:
        raise UnpackError(f"{archive}: not a model archive (a zip file), or a damaged one: {error}") from error
    except OSError as error:
        raise UnpackError(f"{error.filename or archive}: {error.strerror}; --cache names another folder") from error
    return folder


@contextmanager
def _open_verified(archive: Path, cache_folder: Path, keys: Sequence[Path]) -> Iterator[BufferedReader]:
    """Yield the open `archive` or, with keys, a verified copy that no other process can change."""
    with archive.open("rb") as file:
        if not keys:
            yield file
            return
        with tempfile.TemporaryFile(dir=cache_folder) as copy:
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            verify(archive, copy, keys)
            copy.seek(0)
            yield cast(BufferedReader, copy)


def sweep(cache: Path | None = None) -> list[Path]:
    """Remove extractions that no process uses, except for the most recent, and return the removed folders.

    Folders that cannot be removed stay; the next start tries again.
    """
    cache_folder = (cache or _default_cache()).resolve()
    with suppress(OSError):
        entries = [path for path in cache_folder.iterdir() if path.is_dir()]
        extracted = sorted((path for path in entries if _EXTRACTED.fullmatch(path.name)), key=_last_used, reverse=True)
        oldest = time.time() - _UNFINISHED_MAX_AGE_S
        unfinished = [path for path in entries if _UNFINISHED.fullmatch(path.name) and _last_used(path) < oldest]
        return _remove([*extracted[_MAX_UNUSED:], *unfinished])
    return []


def _lock_folder(folder: Path) -> bool:
    """Lock `folder` until this process ends, also after an `exec`, and return whether the folder exists.

    Raises:
        UnpackError: other users can write to the folder, whose code would be run.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    status = os.fstat(descriptor)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(descriptor)
        raise UnpackError(f"{folder}: other users may write to this folder, whose code would run; remove it, or set --cache")
    with suppress(OSError):  # A file system without locks; `sweep` cannot remove anything there either.
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not folder.is_dir() or not os.path.samestat(status, folder.stat()):
        os.close(descriptor)
        return False
    os.set_inheritable(descriptor, True)
    with suppress(OSError):  # The folder may belong to another user and be read-only.
        os.utime(descriptor)
    return True


def _extract(archive: Path, file: IO[bytes], folder: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(file) as zip_file:
            if _MANIFEST not in zip_file.namelist():
                raise UnpackError(f"{archive}: not a model archive: it has no {_MANIFEST}")
            zip_file.extractall(partial)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # Not because another server was quicker.
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove(folders: Iterable[Path]) -> list[Path]:
    removed = []
    for folder in folders:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Renamed first, so that no process finds a partly removed folder.
                renamed = folder.rename(folder.with_name(f"{folder.name[:32]}.swept{os.getpid()}"))
                shutil.rmtree(renamed)
                removed.append(folder)
            finally:
                os.close(descriptor)
    return removed


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deeplab-serve"
