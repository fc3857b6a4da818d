"""Extract an archive into a cache folder by its digest. Imports nothing but the standard library."""

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path


class UnpackError(Exception):
    """An archive cannot be extracted."""


def unpack(archive: Path, cache: Path | None = None) -> Path:
    """Return a folder with the contents of `archive`, extracted now or by an earlier start.

    The folder appears whole or not at all: several servers may start at once, and any of them may be killed.

    Args:
        archive: a `.mar` file, or a folder that is already an extracted one.
        cache: where to extract to; None: the user's cache folder.

    Raises:
        UnpackError: `archive` is not a zip file with a manifest, or the folder cannot be written.
    """
    if archive.is_dir():
        return archive.resolve()
    home = cache or _default_cache()
    try:
        with archive.open("rb") as file:
            folder = home.resolve() / hashlib.file_digest(file, "sha256").hexdigest()[:32]
        if not folder.is_dir():
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            _extract(archive, folder)
    except zipfile.BadZipFile as error:
        raise UnpackError(f"{archive}: not a model archive (a zip file): {error}") from error
    except OSError as error:
        raise UnpackError(f"{error.filename or archive}: {error.strerror}; --cache names another folder") from error
    return folder


def _extract(archive: Path, folder: Path) -> None:
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as packed:
            if "MAR-INF/MANIFEST.json" not in packed.namelist():
                raise UnpackError(f"{archive}: not a model archive: it has no MAR-INF/MANIFEST.json")
            packed.extractall(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # Another start was not quicker.
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deeplab-serve"
