"""The model to export, from a checkpoint or an archive."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from handler.archive import extract_archive
from handler.network.engines.base import ModelFiles


@dataclass(frozen=True)
class Source:
    """A model and its name."""

    files: ModelFiles
    name: str


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a checkpoint (`.safetensors`) or an archive (`.mar`), whose output stride may differ from its checkpoint's.

    Raises:
        ConfigurationError: `path` ends in `.mar` and is not an archive of this project.
    """
    if path.suffix != ".mar":
        yield Source(ModelFiles(path), path.stem)
        return
    with tempfile.TemporaryDirectory(prefix="deeplab-archive-") as folder:
        archive = extract_archive(path, Path(folder))
        yield Source(ModelFiles(archive.checkpoint, archive.settings.output_stride), archive.identity.name)
