"""The published network as the trainer's start weights and teacher."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import Network, load_state_dict
from model.metadata import CheckpointMetadata
from model.preprocessing import Normalize
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
        """Load the published weights at `path` into `network`, adapted to its cells.

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
    """The published network, which sees images in the form it was published for.

    If that is a square padded with the mean colour, the longer side of an image is resized to the square's side. Otherwise
    sides are padded until they are congruent to its own side modulo 16, which keeps its cells in place.
    """

    colours: Tensor

    def __init__(self, network: Network, published: PublishedNetwork) -> None:
        super().__init__()
        self.network = network
        self._side, self._fills_square = published.side, published.fills_square
        self.register_buffer("colours", torch.eye(3) if published.teacher_colours is None else published.teacher_colours())

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images B×3×H×W to logits B×C×h×w."""
        images = torch.einsum("bchw,kc->bkhw", images, self.colours)
        if self._fills_square:
            images = resize_long_side(images, self._side)
        height, width = images.shape[-2:]
        logits: Tensor = self.network(self._pad(images))["out"]
        return logits[..., :height, :width]

    def _pad(self, images: Tensor) -> Tensor:
        sides = images.shape[-2:]
        if self._fills_square:  # The mean colour is 0 after normalization.
            bottom, right = (self._side - side for side in sides)
            return F.pad(images, (0, right, 0, bottom))
        bottom, right = ((self._side - side) % _OUTPUT_STRIDE for side in sides)
        return F.pad(images, (0, right, 0, bottom), mode="replicate")


def resize_long_side(images: Tensor, side: int) -> Tensor:
    """Resize images B×C×H×W so that their longer side has `side` pixels."""
    scale = side / max(images.shape[-2:])
    size = [max(1, round(length * scale)) for length in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


@torch.inference_mode()
def published_labels(teacher: PublishedTeacher, published: PublishedNetwork, image: Tensor) -> Tensor:
    """Return the teacher's labels of an image.

    Args:
        teacher: the published network.
        published: its description.
        image: uint8 H×W×3, of any size.

    Returns:
        Class indices, int64 H×W, from logits interpolated to the image's size.
    """
    pixels = Normalize(published.normalization)(image[None])
    logits = teacher(resize_long_side(pixels, published.labelled_side))
    labels: Tensor = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)[0].argmax(0)
    return labels
