"""What each process of an executor does: load the model once, then segment blocks."""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from handler.archive import ModelArchive, extract_archive, read_archive
from handler.pipeline import Pipeline
from handler.servers.model_process import ServedModel
from scripts.rasters.blocks import segment_block
from scripts.rasters.errors import RasterError
from scripts.rasters.parts import encode_block
from scripts.rasters.plan import BlockTask, RasterPlan
from scripts.rasters.reading import RasterReader


@dataclass(frozen=True)
class BlockFault:
    """Why a block could not be segmented."""

    reason: str


@dataclass(frozen=True)
class LoadModel:
    """Loads a model archive in a process, which then segments blocks; can be pickled."""

    #: The folder of an extracted archive; or the bytes of a .mar, for machines that do not see this one's files.
    archive: Path | bytes
    #: Threads of the engine.
    threads: int = 1

    def __call__(self) -> "BlockWorker":
        """Load the model.

        Raises:
            ConfigurationError: the archive or its settings cannot be used.
            CheckpointError: the checkpoint cannot be used.
        """
        archive = read_archive(self.archive) if isinstance(self.archive, Path) else _unpack(self.archive)
        settings = archive.settings.model_copy(update={"threads": archive.settings.threads or self.threads})
        gpu = os.getpid() % torch.cuda.device_count() if torch.cuda.is_available() else None
        model = ServedModel(replace(archive, settings=settings, batch_size=1), gpu_id=gpu)
        return BlockWorker(model.application.pipeline)


def _unpack(data: bytes) -> ModelArchive:
    # The folder stays as long as the process: the checkpoint may be read again.
    folder = Path(tempfile.mkdtemp(prefix="deeplab-rasters-"))
    path = folder / "model.mar"
    path.write_bytes(data)
    archive = extract_archive(path, folder)
    path.unlink()
    return archive


class BlockWorker:
    """Segments blocks, one after the other; the raster of the last one stays open."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Use a loaded model."""
        self._pipeline = pipeline
        self._plan: RasterPlan | None = None
        self._reader: RasterReader | None = None

    def __call__(self, task: BlockTask) -> bytes | BlockFault:
        """Return the encoded block, or what is wrong with the raster there."""
        try:
            return encode_block(segment_block(task, self._pipeline, self._open(task.plan)))
        except RasterError as error:
            return BlockFault(str(error))

    def _open(self, plan: RasterPlan) -> RasterReader:
        if self._reader is None or self._plan != plan:
            self.close()
            self._reader = RasterReader(plan.source, plan.options, plan.shown)
            self._plan = plan
        return self._reader

    def close(self) -> None:
        """Close the raster that is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
