"""What a run needs to know of a model without loading its network."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from handler.archive import extract_archive
from handler.labels import Labels
from handler.options import InferenceOptions, ModelIdentity
from handler.settings import HandlerSettings
from model.checkpoint import read_metadata
from model.metadata import ResizePolicy


@dataclass(frozen=True)
class ModelCard:
    """A model's classes, the size at which it sees images, and what tells it from others."""

    identity: ModelIdentity
    labels: Labels
    policy: ResizePolicy
    #: The archive's defaults.
    inference: InferenceOptions
    #: SHA-256 of the file.
    digest: str


def read_model_card(path: Path) -> ModelCard:
    """Read a model archive (`.mar`) or a checkpoint (`.safetensors`).

    Raises:
        OSError: the file cannot be read.
        ConfigurationError: it is not an archive of this project.
        CheckpointError: the checkpoint cannot be used.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".safetensors":
        return _card(path, ModelIdentity(path.stem, ""), HandlerSettings(), digest)
    with tempfile.TemporaryDirectory(prefix="deeplab-") as folder:
        archive = extract_archive(path, Path(folder))
        return _card(archive.checkpoint, archive.identity, archive.settings, digest)


def _card(checkpoint: Path, identity: ModelIdentity, settings: HandlerSettings, digest: str) -> ModelCard:
    metadata = read_metadata(checkpoint, output_stride=settings.output_stride)
    return ModelCard(identity, Labels.from_metadata(metadata), metadata.resize, settings.inference.defaults, digest)
