"""Heads that turn a feature map into per-class logits on the same grid."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from model.aspp import ASPP, conv3x3_bn_relu, conv_bn_relu


class DeepLabHead(nn.Sequential):
    """DeepLabV3's head: ASPP, a 3×3 convolution and the classifier, from B×in_channels×H×W to B×num_classes×H×W.

    Args:
        in_channels: channels of the feature map.
        num_classes: channels of the logits.
        atrous_rates: 12, 24, 36 at output stride 8 and 6, 12, 18 at 16 (Chen et al. 2017, section 3.3).
        separable: make the 3×3 convolutions depthwise separable.
        convolutions: number of 3×3 convolutions between ASPP and the classifier.
        aspp_channels: channels of ASPP and of these convolutions.
        aspp_fusion: kernel size of the convolution that fuses ASPP's branches.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        atrous_rates: Sequence[int] = (12, 24, 36),
        *,
        separable: bool = False,
        convolutions: int = 1,
        aspp_channels: int = 256,
        aspp_fusion: int = 1,
    ) -> None:
        refinement = (conv3x3_bn_relu(aspp_channels, aspp_channels, separable=separable) for _ in range(convolutions))
        super().__init__(
            ASPP(in_channels, atrous_rates, aspp_channels, separable=separable, fusion=aspp_fusion),
            *(layer for layers in refinement for layer in layers),
            nn.Conv2d(aspp_channels, num_classes, 1),
        )

    @property
    def aspp(self) -> ASPP:
        """The ASPP module, which is the head's first module."""
        return cast(ASPP, self[0])


class FCNHead(nn.Sequential):
    """The auxiliary head: a 3×3 convolution to in_channels / 4 and a classifier; B×in_channels×H×W to B×num_classes×H×W."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        hidden = in_channels // 4
        super().__init__(
            *conv_bn_relu(in_channels, hidden, 3),
            nn.Dropout(0.1),
            nn.Conv2d(hidden, num_classes, 1),
        )


class AtrousSumHead(nn.Module):
    """DeepLabV2's head (Chen et al. 2016, section 3.2): the sum of one 3×3 atrous classifier per rate.

    Args:
        in_channels: channels of the feature map.
        num_classes: channels of the logits.
        atrous_rates: dilation of each classifier.
    """

    def __init__(self, in_channels: int, num_classes: int, atrous_rates: Sequence[int]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in atrous_rates
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map B×in_channels×H×W to logits B×num_classes×H×W."""
        return torch.stack([classifier(features) for classifier in self.classifiers]).sum(0)


class LargeFOVHead(nn.Sequential):
    """DeepLabV1's head (Chen et al. 2015, section 4.1): VGG's fully connected layers as convolutions of 1024 channels.

    Args:
        in_channels: channels of the feature map.
        num_classes: channels of the logits.
        atrous_rate: dilation of the first convolution, which is 3×3; 12 at output stride 8 gives the large field of view.
    """

    def __init__(self, in_channels: int, num_classes: int, atrous_rate: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 1024, 3, padding=atrous_rate, dilation=atrous_rate),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(1024, num_classes, 1),
        )
