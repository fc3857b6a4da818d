"""Heads that turn a feature map into per-class logits on the same grid."""

from collections.abc import Sequence
from typing import cast

from torch import nn

from model.aspp import ASPP, conv_bn_relu


class DeepLabHead(nn.Sequential):
    """ASPP, a 3×3 convolution and the classifier: B×in_channels×H×W to logits B×num_classes×H×W.

    The rates are 12, 24, 36 for features at output stride 8 and 6, 12, 18 at 16 (Chen et al. 2017, section 3.3).
    """

    def __init__(self, in_channels: int, num_classes: int, atrous_rates: Sequence[int] = (12, 24, 36)) -> None:
        super().__init__(
            ASPP(in_channels, atrous_rates),
            *conv_bn_relu(256, 256, 3),
            nn.Conv2d(256, num_classes, 1),
        )

    @property
    def aspp(self) -> ASPP:
        """Its first module."""
        return cast(ASPP, self[0])


class FCNHead(nn.Sequential):
    """The auxiliary head: B×in_channels×H×W to logits B×num_classes×H×W through a quarter of the channels."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        hidden = in_channels // 4
        super().__init__(
            *conv_bn_relu(in_channels, hidden, 3),
            nn.Dropout(0.1),
            nn.Conv2d(hidden, num_classes, 1),
        )
