"""Where answers and the manifest are written: a folder, or a prefix in a store such as `s3://bucket/masks`."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psutil

from model.atomic import write_atomically
from scripts.bulk.errors import BulkError, NameNotPossible
from scripts.bulk.storage import open_store, url_scheme
from scripts.segment.file_names import BULK_LOCK as LOCK

#: Seconds after which a run that stopped renewing its entry in a store counts as dead, and seconds between renewals.
_LEASE_S, _RENEWAL_S = 60, 15
#: Errors caused by a file's name, such as one that is too long.
_NAME_FAULTS = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}


class Destination(Protocol):
    """A picklable place for files by name, where names may have slashes."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically.

        Raises:
            NameNotPossible: the destination cannot have a file with this name.
            BulkError: the file cannot be written.
        """
        ...

    def write_from(self, name: str, path: Path) -> None:
        """Move or copy a local file of any length to the destination."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: there is no such file.
            BulkError: the file cannot be read.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
        ...

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other run out during the block.

        Raises:
            BulkError: another run is active.
        """
        ...

    def require_shared(self) -> None:
        """Check in a worker process, perhaps on another machine, that it writes to the same place as the run's manifest.

        Raises:
            BulkError: the process would write elsewhere.
        """
        ...


def make_destination(location: str) -> Destination:
    """Return the destination at a path or URL.

    Raises:
        BulkError: nothing can be written there.
    """
    if not (scheme := url_scheme(location)):
        return FolderDestination(Path(location.removeprefix("file://")).absolute())
    if scheme in {"http", "https"}:
        raise BulkError(f"--out {location}: nothing can be written there; give a folder, or a URL such as s3://bucket/masks")
    if not location.partition("://")[2].strip("/"):
        raise BulkError(f"--out {location}: names no bucket; give a URL such as {scheme}://bucket/masks")
    open_store(location)
    return StoreDestination(location.rstrip("/"))


@dataclass(frozen=True)
class FolderDestination:
    """A folder on this machine."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def write(self, name: str, data: bytes) -> None:
        path = self.root / name
        try:
            write_atomically(path, data, durable=False)
        except (OSError, ValueError) as error:
            error_class = NameNotPossible if isinstance(error, ValueError) or error.errno in _NAME_FAULTS else BulkError
            raise error_class(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error

    def write_from(self, name: str, path: Path) -> None:
        target = self.root / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            with path.open("rb") as source, part.open("wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)
            part.replace(target)
        except OSError as error:
            raise BulkError(f"{target}: cannot be written: {error.strerror}") from error

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        path = self.root / folder
        return sorted(f"{folder}/{entry.name}" for entry in path.iterdir() if entry.is_file()) if path.is_dir() else []

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lock that is released when this process ends, for whatever reason."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / LOCK).open("a")
        except (FileExistsError, NotADirectoryError) as error:
            raise BulkError(f"--out {self.root}: it or a part of its path is a file; give a folder") from error
        except OSError as error:
            raise BulkError(f"--out {self.root}: cannot be written to: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BulkError(
                    f"--out {self.root}: another run is writing there; wait for it, or give another --out"
                ) from error
            yield

    def require_shared(self) -> None:
        if not (self.root / LOCK).exists():
            raise BulkError(
                f"--out {self.root}: {socket.gethostname()} sees no run in this folder; machines without a shared folder need "
                "a URL such as s3://bucket/masks"
            )


@dataclass(frozen=True)
class StoreDestination:
    """A prefix in a store supported by fsspec. A file is written with one PUT, so it is complete or absent."""

    url: str

    def __str__(self) -> str:
        return self.url

    def write(self, name: str, data: bytes) -> None:
        with self._writing(name) as (store, path):
            store.pipe_file(path, data)

    def write_from(self, name: str, path: Path) -> None:
        with self._writing(name) as (store, target):
            store.put_file(str(path), target)

    def read(self, name: str) -> bytes:
        store, root = open_store(self.url)
        try:
            data: bytes = store.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            raise
        except Exception as error:
            raise BulkError(f"{self.url}/{name}: cannot be read: {error}") from error
        return data

    def names(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{Path(info['name']).name}" for info in self._list(folder))

    def exists(self, name: str) -> bool:
        """Return whether there is a file with this name.

        Raises:
            BulkError: the store cannot be queried.
        """
        store, root = open_store(self.url)
        try:
            store.info(f"{root}/{name}")
        except FileNotFoundError:
            return False
        except Exception as error:
            raise BulkError(f"{self.url}/{name}: cannot be read: {error}") from error
        return True

    def remove(self, name: str) -> None:
        with self._writing(name) as (store, path), contextlib.suppress(FileNotFoundError):
            store.rm_file(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold an entry below `.bulk.lock` and renew it.

        Each run first writes its own entry and then lists all entries, so that at least one of two runs sees the other.
        """
        lease = _Lease(self)
        lease.renew()
        try:
            lease.require_alone()
            with lease.renewed():
                yield
        finally:
            self.remove(lease.name)

    def require_shared(self) -> None:
        """Do nothing: a URL means the same everywhere."""

    def _list(self, folder: str) -> list[dict[str, Any]]:
        store, root = open_store(self.url)
        try:
            entries: list[dict[str, Any]] = store.ls(f"{root}/{folder}", detail=True, refresh=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise BulkError(f"{self.url}/{folder}: cannot be listed: {error}") from error
        return [info for info in entries if info["type"] == "file" and not info["name"].endswith("/")]

    @contextmanager
    def _writing(self, name: str) -> Iterator[tuple[Any, str]]:
        store, root = open_store(self.url)
        try:
            yield store, f"{root}/{name}"
        except FileNotFoundError as error:
            raise BulkError(f"{self.url}: no such bucket") from error
        except Exception as error:
            raise BulkError(f"{self.url}/{name}: cannot be written: {error}") from error


class _Lease:
    """A run's entry in a store. The run counts as alive as long as the entry is renewed."""

    def __init__(self, destination: StoreDestination) -> None:
        self._destination = destination
        self.name = f"{LOCK}/{uuid.uuid4().hex}"

    @cached_property
    def _owner(self) -> dict[str, Any]:
        started = psutil.Process().create_time()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return {"host": socket.gethostname(), "pid": os.getpid(), "started": started, "since": since}

    def renew(self) -> None:
        self._destination.write(self.name, json.dumps(self._owner).encode())

    def require_alone(self) -> None:
        """Remove dead runs' entries, and check that no other run is alive.

        Raises:
            BulkError: another run is alive.
        """
        entries = {f"{LOCK}/{Path(info['name']).name}": info for info in self._destination._list(LOCK)}
        own_info = entries.pop(self.name, {})
        for name, info in entries.items():
            age = _seconds_between(info, own_info)
            owner = self._read_owner(name)
            if age > _LEASE_S or self._is_dead(owner):
                self._destination.remove(name)
                continue
            raise BulkError(
                f"--out {self._destination}: another run is writing there: process {owner.get('pid')} on {owner.get('host')} "
                f"since {owner.get('since')}; wait for it, or if it was killed for {_LEASE_S} seconds, or give another --out"
            )

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the entry during the block."""
        stop = threading.Event()

        def renew() -> None:
            while not stop.wait(_RENEWAL_S):
                # The next renewal may succeed; three fit into a lease.
                with contextlib.suppress(BulkError):
                    self.renew()

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _read_owner(self, name: str) -> dict[str, Any]:
        try:
            owner: dict[str, Any] = json.loads(self._destination.read(name))
        except (FileNotFoundError, ValueError):
            return {}
        return owner

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        """Return whether the owner was a process on this machine that has ended, even if its id has been reused."""
        if owner.get("host") != self._owner["host"]:
            return False
        try:
            return bool(psutil.Process(owner["pid"]).create_time() != owner["started"])
        except psutil.NoSuchProcess:
            return True


def _seconds_between(info: dict[str, Any], own_info: dict[str, Any]) -> float:
    """Return how many seconds older an entry is than this run's, by the store's own clock."""
    times = [entry.get("LastModified") or entry.get("updated") or entry.get("mtime") for entry in (info, own_info)]
    then, now = (datetime.fromisoformat(time) if isinstance(time, str) else time for time in times)
    return (now - then).total_seconds() if then and now else 0.0
