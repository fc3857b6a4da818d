"""Convert 8-bit images to the network's input."""

import torch
from torch import Tensor, nn

from model.metadata import Normalization


class Normalize(nn.Module):
    """Maps uint8 B×H×W×3 to float32 B×3×H×W: scales to 0..1, then applies `(x - mean) / std` per channel."""

    scale: Tensor
    offset: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        std = torch.tensor(normalization.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("offset", torch.tensor(normalization.mean).view(1, 3, 1, 1) / std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        # `permute` does not copy, so the result is channels-last in memory, the fastest layout for convolutions.
        return pixels.permute(0, 3, 1, 2) * self.scale - self.offset
