"""Where rasters' outputs go: a folder, or a store such as `s3://bucket/masks`."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from model.atomic import write_atomically
from scripts.bulk.destinations import StoreDestination, make_destination
from scripts.bulk.executors.base import Executor
from scripts.bulk.storage import url_scheme
from scripts.errors import UsageError
from scripts.rasters.model_card import ModelCard
from scripts.rasters.run import RECORD, Prepare, RasterJob, RasterReport, segment_raster


class Outputs(Protocol):
    """A place for outputs."""

    #: The local folder in which outputs are made.
    folder: Path

    def segment(self, job: RasterJob, model: ModelCard, prepare: Prepare, executor: Executor) -> RasterReport:
        """Segment a raster whose `out` is below `folder`, as `segment_raster` does.

        Raises:
            BulkError: a store cannot be reached.
        """
        ...

    def location_of(self, path: Path) -> str:
        """Return the path or URL of a report's output."""
        ...


def make_outputs(location: str, work: Path | None) -> Outputs:
    """Return the outputs at a path or URL.

    Args:
        location: the value of `--out`.
        work: folder in which outputs for a store are made; None for a folder in the user's cache that depends on the URL.

    Raises:
        UsageError: the options do not fit together.
        BulkError: nothing can be written there.
    """
    if location.startswith("/vsi"):
        raise UsageError(f"--out {location}: give a folder, or a URL such as s3://bucket/masks")
    if not url_scheme(location):
        if work:
            raise UsageError(f"--work {work}: applies only to --out with a URL; for a folder, work is kept in {location}")
        return FolderOutputs(_folder(location))
    destination = make_destination(location)
    assert isinstance(destination, StoreDestination)  # noqa: S101 (it has a scheme)
    return StoreOutputs(destination, work or _default_folder(destination.url))


def _folder(location: str) -> Path:
    folder = Path(location.removeprefix("file://"))
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UsageError(f"--out {location}: {existing} is a file; give a folder")
    return folder


class FolderOutputs:
    """Outputs in a folder on this machine."""

    def __init__(self, folder: Path) -> None:
        """Store the folder, which is created when needed."""
        self.folder = folder

    def segment(self, job: RasterJob, model: ModelCard, prepare: Prepare, executor: Executor) -> RasterReport:
        return segment_raster(job, model, prepare, executor)

    def location_of(self, path: Path) -> str:
        return str(path)


class StoreOutputs:
    """Outputs in a store, made in a local folder because GDAL needs seekable files to write COGs and GeoPackages.

    A raster's record is uploaded last, so a raster is finished once the store has its record. Interrupted runs continue where
    they stopped: blocks and outputs stay in the folder until the store has all of them.
    """

    def __init__(self, destination: StoreDestination, folder: Path) -> None:
        """Store the folder, which is created when needed."""
        self.folder = folder
        self._destination = destination

    def segment(self, job: RasterJob, model: ModelCard, prepare: Prepare, executor: Executor) -> RasterReport:
        record = job.out.with_name(f"{job.out.name}{RECORD}")
        self._fetch(record)
        report = segment_raster(job, model, prepare, executor, exists=self._exists)
        files = [path for path in _files_of(report) if path.is_file()]
        for path in [*files, record] if files else []:
            self._destination.write_from(self._name(path), path)
        for path in [*files, record]:
            path.unlink(missing_ok=True)
        return report

    def location_of(self, path: Path) -> str:
        return f"{self._destination}/{self._name(path)}"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _fetch(self, record: Path) -> None:
        """Download a raster's record, unless there is a local one from a run whose upload was interrupted."""
        if record.is_file():
            return
        try:
            write_atomically(record, self._destination.read(self._name(record)))
        except FileNotFoundError:
            return

    def _exists(self, path: Path) -> bool:
        return path.is_file() or self._destination.exists(self._name(path))


def _files_of(report: RasterReport) -> Iterator[Path]:
    """Yield the outputs and their GDAL sidecars."""
    for path in report.outputs:
        yield path
        yield path.with_name(f"{path.name}.aux.xml")


def _default_folder(url: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "deeplab-serve" / "rasters" / hashlib.sha256(url.encode()).hexdigest()[:16]
