"""The published network as the trainer's start weights and as its teacher."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import Network, load_state_dict
from model.metadata import CheckpointMetadata
from scripts.training.config import TrainingConfig
from scripts.training.weights import CheckpointWeights
from tools.scenes_and_streets.published_networks import PublishedNetwork, build_published, read_published

_OUTPUT_STRIDE = 16


class PublishedWeights(CheckpointWeights):
    """Reads start weights and teacher from a published file."""

    def __init__(self, published: PublishedNetwork) -> None:
        self._published = published

    def initialize(
        self, network: Network, path: Path, config: TrainingConfig, metadata: CheckpointMetadata, crops: Iterator[Tensor]
    ) -> None:
        """Load the published weights at `path` into `network`, whose cells lie elsewhere.

        Raises:
            CheckpointError: the file cannot be read, or holds other weights.
        """
        del config, metadata, crops
        device = next(network.parameters()).device
        start = self._published.start_state(read_published(path, self._published))
        state = {name: tensor.to(device) for name, tensor in start.items()}
        load_state_dict(network, state, source=str(path))

    def load_teacher(self, path: Path, metadata: CheckpointMetadata) -> nn.Module:
        """Load the published network with its own padding and interpolation.

        Raises:
            CheckpointError: the file cannot be read, or holds other weights.
        """
        del metadata
        return PublishedTeacher(build_published(path, self._published), self._published)


class PublishedTeacher(nn.Module):
    """The published network at sizes where its cells lie as they do at its own size: those with the same remainder by 16."""

    colours: Tensor

    def __init__(self, network: Network, published: PublishedNetwork) -> None:
        super().__init__()
        self.network = network
        self._remainder = published.side % _OUTPUT_STRIDE
        self.register_buffer("colours", torch.eye(3) if published.teacher_colours is None else published.teacher_colours())

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images B×3×H×W to logits B×C×H×W."""
        height, width = images.shape[-2:]
        below, right = ((self._remainder - side) % _OUTPUT_STRIDE for side in (height, width))
        images = F.pad(torch.einsum("bchw,kc->bkhw", images, self.colours), (0, right, 0, below), mode="replicate")
        logits: Tensor = self.network(images)["out"]
        return logits[..., :height, :width]


@torch.inference_mode()
def published_labels(teacher: PublishedTeacher, published: PublishedNetwork, image: Tensor) -> Tensor:
    """Return the teacher's labels of an image, whose longer side becomes that of the published network, without padding.

    Args:
        image: uint8 H×W×3, of any size.

    Returns:
        Class indices int64 h×w.
    """
    scale = published.side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[:2]]
    pixels = image.permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (published.normalization.mean, published.normalization.std))
    labels: Tensor = teacher((resized - mean) / std)[0].argmax(0)
    return labels
