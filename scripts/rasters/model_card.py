"""What a run needs to know about a model without loading its network."""

from dataclasses import dataclass

from handler.archive import ModelArchive
from handler.digest import content_digest
from handler.labels import Labels
from handler.options import InferenceOptions, ModelIdentity
from model.checkpoint_file import read_metadata
from model.metadata import ResizePolicy


@dataclass(frozen=True)
class ModelCard:
    """A model's classes, input size and identity."""

    identity: ModelIdentity
    labels: Labels
    policy: ResizePolicy
    #: The archive's default options.
    inference: InferenceOptions
    #: SHA-256 of the archive's contents.
    digest: str


def read_model_card(archive: ModelArchive) -> ModelCard:
    """Describe the model of an extracted archive.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    metadata = read_metadata(archive.checkpoint, output_stride=archive.settings.output_stride)
    return ModelCard(
        archive.identity,
        Labels.from_metadata(metadata),
        metadata.resize,
        archive.settings.inference.defaults,
        content_digest(archive.folder),
    )
