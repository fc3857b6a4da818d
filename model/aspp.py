"""Atrous spatial pyramid pooling (Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation").

State dicts have the same keys as torchvision's: `convs` contains the 1×1 branch, one branch per atrous rate and the image
pooling, in this order; `project` fuses them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> list[nn.Module]:
    """Return a size-preserving convolution without bias, followed by batch normalization and ReLU."""
    padding = dilation * (kernel_size // 2)
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def separable_conv_bn_relu(in_channels: int, out_channels: int, dilation: int = 1) -> list[nn.Module]:
    """Return a depthwise 3×3 and a pointwise convolution (Chen et al. 2018, section 3.1), each with normalization and ReLU."""
    return [
        nn.Conv2d(in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        *conv_bn_relu(in_channels, out_channels, 1),
    ]


def conv3x3_bn_relu(in_channels: int, out_channels: int, dilation: int = 1, *, separable: bool) -> list[nn.Module]:
    """Return a size-preserving 3×3 convolution, plain or depthwise separable, with normalization and ReLU."""
    if separable:
        return separable_conv_bn_relu(in_channels, out_channels, dilation)
    return conv_bn_relu(in_channels, out_channels, 3, dilation)


class ASPPConv(nn.Sequential):
    """One atrous branch: a dilated 3×3 convolution from B×in_channels×H×W to B×out_channels×H×W."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, *, separable: bool = False) -> None:
        super().__init__(*conv3x3_bn_relu(in_channels, out_channels, dilation, separable=separable))


class ASPPPooling(nn.Sequential):
    """The image-level branch: averages over all positions, projects the mean and broadcasts it to every position.

    Training needs batches of at least 2: batch normalization cannot estimate a variance from one pooled vector.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(in_channels, out_channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map B×in_channels×H×W to B×out_channels×H×W, constant over H and W."""
        pooled: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        # `expand` would suffice, but interpolation rounds as in torchvision: a deep network with untrained normalization layers
        # amplifies a difference in the last bit a thousandfold.
        return nn.functional.interpolate(pooled, size=features.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Parallel 1×1, atrous and image-pooling branches over a feature map, fused to `out_channels`.

    Args:
        in_channels: channels of the feature map.
        atrous_rates: dilation of each atrous branch.
        out_channels: channels of each branch and of the result.
        separable: make the atrous convolutions depthwise separable.
        fusion: kernel size of the convolution that fuses the branches.
    """

    def __init__(
        self,
        in_channels: int,
        atrous_rates: Sequence[int],
        out_channels: int = 256,
        *,
        separable: bool = False,
        fusion: int = 1,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*conv_bn_relu(in_channels, out_channels, 1)),
                *(ASPPConv(in_channels, out_channels, rate, separable=separable) for rate in atrous_rates),
                ASPPPooling(in_channels, out_channels),
            ]
        )
        self.project = nn.Sequential(*conv_bn_relu(len(self.convs) * out_channels, out_channels, fusion), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Map B×in_channels×H×W to B×out_channels×H×W."""
        fused: Tensor = self.project(torch.cat([branch(features) for branch in self.convs], dim=1))
        return fused
