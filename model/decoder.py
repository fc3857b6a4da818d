"""DeepLabV3+'s decoder (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution", sections 3.1 and 4.1)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.aspp import ASPP, conv3x3_bn_relu, conv_bn_relu
from model.resize import ResizeRule, resize_bilinear


class DeepLabPlusHead(nn.Module):
    """Runs ASPP on the last features, refines the result with low-level features and classifies each cell.

    Args:
        in_channels: channels of the last features.
        low_level_in_channels: channels of the features at stride 4.
        num_classes: channels of the logits.
        atrous_rates: dilations of the ASPP branches.
        low_level_channels: channels to which the low-level features are reduced, so that they do not dominate; 48 in table 1.
        decoder_channels: channels of the 3×3 convolutions.
        separable: make the 3×3 convolutions depthwise separable.
        convolutions: number of the 3×3 convolutions.
        aspp_channels: channels of ASPP.
        aspp_fusion: kernel size of the convolution that fuses ASPP's branches.
        resize_rule: the position of ASPP's cells when its result is interpolated.
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
        convolutions: int = 2,
        aspp_channels: int = 256,
        aspp_fusion: int = 1,
        resize_rule: ResizeRule = "half_pixel",
    ) -> None:
        super().__init__()
        self.resize_rule = resize_rule
        self.aspp = ASPP(in_channels, atrous_rates, aspp_channels, separable=separable, fusion=aspp_fusion)
        self.low_level = nn.Sequential(*conv_bn_relu(low_level_in_channels, low_level_channels, 1))
        channels = (aspp_channels + low_level_channels, *[decoder_channels] * convolutions)
        widths = itertools.pairwise(channels)
        self.refine = nn.Sequential(*(nn.Sequential(*conv3x3_bn_relu(*pair, separable=separable)) for pair in widths))
        self.classifier = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        """Map B×in_channels×h×w and B×low_level_in_channels×H×W to logits B×num_classes×H×W."""
        pyramid = self.aspp(features)
        upsampled = resize_bilinear(pyramid, low_level.shape[-2:], self.resize_rule)
        logits: Tensor = self.classifier(self.refine(torch.cat([upsampled, self.low_level(low_level)], dim=1)))
        return logits
