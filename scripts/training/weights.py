"""Where a run's weights begin, and the teacher it learns from."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model import CheckpointError, Network, load_checkpoint, load_state_dict
from model.metadata import Normalization
from scripts.training.start import MARK, CentredStart, FreshLayers, begin_from, load_start


def begin(network: Network, path: Path) -> FreshLayers:
    """Give `network` the weights at `path`: a checkpoint of the same network, or the published start.

    Returns:
        Layers whose statistics are yet to be measured; none after a checkpoint.

    Raises:
        CheckpointError: the file cannot be read, or its weights are another network's.
    """
    if _is_published_start(path):
        return begin_from(network, load_start(path), centred=True)
    state = load_checkpoint(path).network.state_dict()
    try:
        load_state_dict(network, state, source=str(path))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; for other classes, `python -m scripts.import_weights --reinitialize-classifier` makes a start of it"
        ) from error
    return []


def load_teacher(path: Path, classes: int, normalization: Normalization) -> nn.Module:
    """A network that gives logits for images normalized by `normalization`.

    Raises:
        CheckpointError: the file cannot be read, or has another number of classes.
    """
    if _is_published_start(path):
        return CentredStart(load_start(path))
    teacher = load_checkpoint(path)
    taught = len(teacher.metadata.classes)
    if taught != classes:
        raise CheckpointError(f"{path}: the teacher has {taught} classes, the network {classes}")
    return Teacher(teacher.network, normalization, teacher.metadata.normalization)


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
