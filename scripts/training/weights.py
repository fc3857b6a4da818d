"""Where a run's weights begin, and the teacher it learns from."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model import CheckpointError, Network, load_checkpoint, load_state_dict
from model.metadata import CheckpointMetadata, Normalization
from scripts.training.start import MARK, CentredStart, FreshLayers, begin_from, load_start

_OTHER_CLASSES = "for other classes, `python -m scripts.import_weights --reinitialize-classifier` makes a start of it"


def begin(network: Network, path: Path, described: CheckpointMetadata) -> FreshLayers:
    """Give `network` the weights at `path`: a checkpoint of the same network, or the published start.

    Args:
        described: what the network is to be.

    Returns:
        Layers whose statistics are yet to be measured; none after a checkpoint.

    Raises:
        CheckpointError: the file cannot be read, its weights are another network's, or they are for other classes or for images
            that were normalized in another way.
    """
    if _is_published_start(path):
        return begin_from(network, load_start(path), centred=True)
    start = load_checkpoint(path)
    try:
        load_state_dict(network, start.network.state_dict(), source=str(path))
    except CheckpointError as error:
        if "wrong shapes" not in str(error):
            raise
        raise CheckpointError(f"{error}; {_OTHER_CLASSES}") from error
    if start.metadata.normalization != described.normalization:
        raise CheckpointError(
            f"{path}: was trained with {start.metadata.normalization!r}, the configuration has {described.normalization!r}"
        )
    _require_same_classes(path, start.metadata, described, _OTHER_CLASSES)
    return []


def load_teacher(path: Path, described: CheckpointMetadata) -> nn.Module:
    """A network that gives logits for images normalized as `described` says.

    Raises:
        CheckpointError: the file cannot be read, or has other classes.
    """
    if _is_published_start(path):
        return CentredStart(load_start(path))
    teacher = load_checkpoint(path)
    _require_same_classes(path, teacher.metadata, described, "a teacher must know the same")
    return Teacher(teacher.network, described.normalization, teacher.metadata.normalization)


def _require_same_classes(path: Path, given: CheckpointMetadata, described: CheckpointMetadata, hint: str) -> None:
    if given.classes != described.classes:
        raise CheckpointError(
            f"{path}: is for the classes {', '.join(given.classes)}; here they are {', '.join(described.classes)}; {hint}"
        )


class Teacher(nn.Module):
    """A network that is given images normalized for another one."""

    scale: Tensor
    offset: Tensor

    def __init__(self, network: Network, given: Normalization, own: Normalization) -> None:
        super().__init__()
        self.network = network
        stds, means = (torch.tensor([getattr(each, name) for each in (given, own)]) for name in ("std", "mean"))
        self.register_buffer("scale", (stds[0] / stds[1]).view(1, 3, 1, 1))
        self.register_buffer("offset", ((means[0] - means[1]) / stds[1]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images B×3×H×W to logits on the network's grid."""
        logits: Tensor = self.network(images * self.scale + self.offset)["out"]
        return logits


def _is_published_start(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return MARK in file.keys()  # noqa: SIM118, not a mapping
    except (SafetensorError, FileNotFoundError) as error:
        raise CheckpointError(f"{path}: no weights in safetensors format: {error}") from error
