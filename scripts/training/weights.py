"""The weights from which a run starts, and the teacher from which it learns."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from model import CheckpointError, Network, load_checkpoint, load_state_dict
from model.metadata import CheckpointMetadata, Normalization
from scripts.class_names import canonical_names
from scripts.training.config import TrainingConfig

_OTHER_CLASSES_HINT = "`python -m scripts.import_weights --reinitialize-classifier` makes start weights for other classes of it"


class CheckpointWeights:
    """Reads start weights and teachers from checkpoints. A recipe with weights in another format overrides both methods."""

    def initialize(
        self, network: Network, path: Path, config: TrainingConfig, metadata: CheckpointMetadata, crops: Iterator[Tensor]
    ) -> None:
        """Load the start weights at `path` into `network`.

        Args:
            network: the network, on the device where it is trained.
            metadata: metadata of the checkpoint to be trained.
            crops: uint8 B×3×S×S, the first epoch's training images. They are read only if this method iterates over them.

        Raises:
            CheckpointError: the file cannot be read, or its weights are for another network, other classes or differently
                normalized images.
        """
        del config, crops
        start = load_checkpoint(path)
        try:
            load_state_dict(network, start.network.state_dict(), source=str(path))
        except CheckpointError as error:
            if "wrong shapes" not in str(error):
                raise
            raise CheckpointError(f"{error}; {_OTHER_CLASSES_HINT}") from error
        if start.metadata.normalization != metadata.normalization:
            raise CheckpointError(
                f"{path}: trained with {start.metadata.normalization!r}, but the configuration has {metadata.normalization!r}"
            )
        _require_same_classes(path, start.metadata, metadata, _OTHER_CLASSES_HINT)

    def load_teacher(self, path: Path, metadata: CheckpointMetadata) -> nn.Module:
        """Load a network that maps images, B×3×S×S, normalized as in `metadata`, to logits, B×C×h×w.

        Raises:
            CheckpointError: the file cannot be read, or its classes differ.
        """
        teacher = load_checkpoint(path)
        _require_same_classes(path, teacher.metadata, metadata, "a teacher needs the same classes")
        return Teacher(teacher.network, metadata.normalization, teacher.metadata.normalization)


class Teacher(nn.Module):
    """A network that first converts images from the student's normalization to its own."""

    scale: Tensor
    offset: Tensor

    def __init__(self, network: Network, student: Normalization, teacher: Normalization) -> None:
        super().__init__()
        self.network = network
        stds, means = (
            torch.tensor([getattr(normalization, name) for normalization in (student, teacher)]) for name in ("std", "mean")
        )
        self.register_buffer("scale", (stds[0] / stds[1]).view(1, 3, 1, 1))
        self.register_buffer("offset", ((means[0] - means[1]) / stds[1]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map images, B×3×H×W, normalized for the student, to logits on the network's grid."""
        logits: Tensor = self.network(images * self.scale + self.offset)["out"]
        return logits


def _require_same_classes(path: Path, loaded: CheckpointMetadata, required: CheckpointMetadata, hint: str) -> None:
    if canonical_names(loaded.classes) != canonical_names(required.classes):
        raise CheckpointError(
            f"{path}: has the classes {', '.join(loaded.classes)}; the run has {', '.join(required.classes)}; {hint}"
        )
