"""Where the processes of an executor get their model from."""

import os
import tempfile
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from handler.archive import ModelArchive, extract_archive, read_archive
from handler.pipeline import Pipeline
from handler.servers.model_process import ServedModel
from scripts.bulk.executors.engines import usable_cores


@dataclass(frozen=True)
class ModelSource:
    """An archive that each process loads for itself; can be pickled."""

    #: The folder of an extracted archive; or the bytes of a .mar, for machines that do not see this one's files.
    archive: Path | bytes
    #: Threads of the engine, unless the archive has its own setting.
    threads: int = 1

    @classmethod
    def for_engine(cls, arguments: Namespace, extracted: ModelArchive) -> "ModelSource":
        """Choose what suits the executor that the options of `add_engine_options` ask for.

        Args:
            arguments: those options, and `archive`, the path of the .mar file.
            extracted: the same archive, extracted on this machine.
        """
        if arguments.engine == "ray":
            return cls(arguments.archive.read_bytes())
        cores = usable_cores()
        return cls(extracted.folder, max(1, cores // (arguments.jobs or cores)))

    def load(self) -> Pipeline:
        """Load the model in this process.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the archive or its settings cannot be used.
            RefinementUnavailable: the settings refine by default, and the package for it is not installed.
        """
        archive = read_archive(self.archive) if isinstance(self.archive, Path) else _extract(self.archive)
        settings = archive.settings.model_copy(update={"threads": archive.settings.threads or self.threads})
        # Ray shows each process its own GPU.
        gpu = os.getpid() % torch.cuda.device_count() if torch.cuda.is_available() else None
        # A process has one image at a time in work, so a second lane would only take memory.
        return ServedModel(replace(archive, settings=settings, batch_size=1), gpu_id=gpu).application.pipeline


def _extract(data: bytes) -> ModelArchive:
    # The folder stays as long as the process: the checkpoint may be read again.
    folder = Path(tempfile.mkdtemp(prefix="deeplab-bulk-"))
    path = folder / "model.mar"
    path.write_bytes(data)
    archive = extract_archive(path, folder)
    path.unlink()
    return archive
