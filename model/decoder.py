"""DeepLabV3+'s decoder (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution", sections 3.1 and 4.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.aspp import ASPP, conv3x3_bn_relu, conv_bn_relu


class DeepLabPlusHead(nn.Module):
    """Runs ASPP on the last features, refines the result with low-level features and classifies each cell.

    Args:
        in_channels: channels of the last features.
        low_level_in_channels: channels of the features at stride 4.
        num_classes: channels of the logits.
        atrous_rates: dilations of the ASPP branches.
        low_level_channels: channels the low-level features are reduced to, so that they do not dominate; 48 in table 1.
        decoder_channels: channels of the two 3×3 convolutions.
        separable: make the 3×3 convolutions depthwise separable.
    """

    def __init__(
        self,
        in_channels: int,
        low_level_in_channels: int,
        num_classes: int,
        atrous_rates: Sequence[int],
        *,
        low_level_channels: int = 48,
        decoder_channels: int = 256,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.aspp = ASPP(in_channels, atrous_rates, separable=separable)
        self.low_level = nn.Sequential(*conv_bn_relu(low_level_in_channels, low_level_channels, 1))
        self.refine = nn.Sequential(
            nn.Sequential(*conv3x3_bn_relu(256 + low_level_channels, decoder_channels, separable=separable)),
            nn.Sequential(*conv3x3_bn_relu(decoder_channels, decoder_channels, separable=separable)),
        )
        self.classifier = nn.Conv2d(decoder_channels, num_classes, 1)

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        """Map B×in_channels×h×w and B×low_level_in_channels×H×W to logits B×num_classes×H×W."""
        pyramid = self.aspp(features)
        upsampled = nn.functional.interpolate(pyramid, size=low_level.shape[-2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.refine(torch.cat([upsampled, self.low_level(low_level)], dim=1)))
        return logits
