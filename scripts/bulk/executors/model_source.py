"""Where an executor's processes get their model."""

import os
import tempfile
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

from handler.archive import ModelArchive, extract_archive, read_archive
from handler.pipeline import Pipeline
from handler.servers.asgi.options import VERIFY_KEY
from handler.servers.asgi.signatures import PACKAGE
from handler.servers.model_process import ServedModel
from scripts.bulk.executors.engines import usable_cores
from scripts.errors import UserError
from scripts.server.verified import verified_copy


@dataclass(frozen=True)
class ModelSource:
    """A picklable archive that each process loads itself."""

    #: The folder of an extracted archive, or the bytes of a .mar for machines that cannot access this one's files.
    archive: Path | bytes
    #: Threads of the engine, unless the archive sets a number.
    threads: int = 1

    def load(self) -> Pipeline:
        """Load the model in this process.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            ConfigurationError: the archive or its settings cannot be used.
            RefinementUnavailable: the settings refine by default, but the package for this is not installed.
        """
        # Not at the top: the program that sends this to other processes does not need torch.
        import torch

        archive = read_archive(self.archive) if isinstance(self.archive, Path) else _extract(self.archive)
        settings = archive.settings.model_copy(update={"threads": archive.settings.threads or self.threads})
        # Ray shows each process its own GPU.
        gpu = os.getpid() % torch.cuda.device_count() if torch.cuda.is_available() else None
        # A process works on one image at a time, so a second lane would only take memory.
        return ServedModel(replace(archive, settings=settings, batch_size=1), gpu_id=gpu).application.pipeline


def open_model(arguments: Namespace, folder: Path) -> tuple[ModelArchive, ModelSource]:
    """Extract the archive below `folder`; return it and the source from which an executor's processes load it.

    Args:
        arguments: the options of `add_model_options` and `add_engine_options`.
        folder: an existing private folder, which must exist as long as the processes run.

    Raises:
        UserError: the archive lacks a required signature, or the package to verify it is not installed.
        ConfigurationError: the file is not an archive of this project, or its settings cannot be used.
    """
    try:
        file = verified_copy(arguments.archive, arguments.verify_key, folder)
    except ModuleNotFoundError as error:
        raise UserError(f"{VERIFY_KEY}: the package {PACKAGE} is not installed; pip install '.[signing]'") from error
    extracted = folder / "archive"
    extracted.mkdir()
    archive = extract_archive(file, extracted)
    if arguments.engine == "ray":
        return archive, ModelSource(file.read_bytes())
    cores = usable_cores()
    return archive, ModelSource(archive.folder, max(1, cores // (arguments.jobs or cores)))


def _extract(data: bytes) -> ModelArchive:
    # The folder is kept as long as the process runs: the checkpoint may be read again.
    folder = Path(tempfile.mkdtemp(prefix="deeplab-bulk-"))
    path = folder / "model.mar"
    path.write_bytes(data)
    archive = extract_archive(path, folder)
    path.unlink()
    return archive
