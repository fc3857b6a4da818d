"""Atrous spatial pyramid pooling (Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation").

Submodules are laid out so that state dicts are key for key torchvision's: `convs` holds the 1×1 branch, one branch per atrous
rate and the image pooling, in this order; `project` fuses them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> list[nn.Module]:
    """A size-preserving convolution without bias, batch normalization and ReLU."""
    padding = dilation * (kernel_size // 2)
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def separable_conv_bn_relu(in_channels: int, out_channels: int, dilation: int = 1) -> list[nn.Module]:
    """A 3×3 convolution split into a depthwise and a pointwise one (Chen et al. 2018, section 3.1), each normalized."""
    return [
        nn.Conv2d(in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        *conv_bn_relu(in_channels, out_channels, 1),
    ]


def conv3x3_bn_relu(in_channels: int, out_channels: int, dilation: int = 1, *, separable: bool) -> list[nn.Module]:
    """A size-preserving 3×3 convolution, plain or depthwise separable."""
    if separable:
        return separable_conv_bn_relu(in_channels, out_channels, dilation)
    return conv_bn_relu(in_channels, out_channels, 3, dilation)


class ASPPConv(nn.Sequential):
    """One atrous branch: B×in_channels×H×W to B×out_channels×H×W by a 3×3 convolution of the given dilation."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, *, separable: bool = False) -> None:
        super().__init__(*conv3x3_bn_relu(in_channels, out_channels, dilation, separable=separable))


class ASPPPooling(nn.Sequential):
    """The image-level branch: the mean over all positions, projected, and given back to every position.

    Training needs a batch of two or more: batch normalization has no variance over a single pooled vector.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(in_channels, out_channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """B×in_channels×H×W to B×out_channels×H×W, constant over H and W."""
        pooled: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        # Interpolating a single cell only repeats it, but rounds as torchvision does; `expand` would differ in the last bit,
        # which a deep network with untrained normalization layers amplifies a thousandfold.
        return nn.functional.interpolate(pooled, size=features.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Parallel 1×1, atrous and image-pooling branches over one feature map, fused to `out_channels`."""

    def __init__(
        self, in_channels: int, atrous_rates: Sequence[int], out_channels: int = 256, *, separable: bool = False
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*conv_bn_relu(in_channels, out_channels, 1)),
                *(ASPPConv(in_channels, out_channels, rate, separable=separable) for rate in atrous_rates),
                ASPPPooling(in_channels, out_channels),
            ]
        )
        self.project = nn.Sequential(*conv_bn_relu(len(self.convs) * out_channels, out_channels, 1), nn.Dropout(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """B×in_channels×H×W to B×out_channels×H×W."""
        fused: Tensor = self.project(torch.cat([branch(features) for branch in self.convs], dim=1))
        return fused
