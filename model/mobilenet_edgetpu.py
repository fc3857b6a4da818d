"""The backbone of MobileNet-EdgeTPU (Howard and Gupta 2019, "Introducing the Next Generation of On-Device Vision Models").

It is a variant of MobileNetV3 for accelerators: ReLU throughout, no squeeze-and-excitation, and in the early stages one full
3×3 convolution instead of the expansion and the depthwise convolution.
"""

from typing import NamedTuple

from torch import Tensor, nn


class Stage(NamedTuple):
    """A sequence of units with the same width."""

    #: Whether the expansion is a full 3×3 convolution.
    fused: bool
    channels: int
    units: int
    #: Stride of the first unit; the others have 1.
    stride: int
    kernel_size: int
    #: Channels inside a unit relative to its input: for the first unit, and for the others.
    first_expansion: int
    expansion: int


_STEM_CHANNELS, _FIRST_CHANNELS, _HEAD_CHANNELS = 32, 16, 1280
_STAGES = (
    Stage(fused=True, channels=32, units=4, stride=2, kernel_size=3, first_expansion=8, expansion=4),
    Stage(fused=True, channels=48, units=4, stride=2, kernel_size=3, first_expansion=8, expansion=4),
    Stage(fused=False, channels=96, units=4, stride=2, kernel_size=3, first_expansion=8, expansion=4),
    Stage(fused=False, channels=96, units=4, stride=1, kernel_size=3, first_expansion=8, expansion=4),
    Stage(fused=False, channels=160, units=4, stride=2, kernel_size=5, first_expansion=8, expansion=4),
    Stage(fused=False, channels=192, units=1, stride=1, kernel_size=3, first_expansion=8, expansion=4),
)


def _conv_bn(in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


class Unit(nn.Module):
    """Expansion, depthwise convolution unless the expansion is a full convolution, projection, and optionally a residual.

    Args:
        in_channels, hidden, out_channels: channels at the input, inside and at the output.
        residual: add the input; widths and stride must allow it.
    """

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, kernel_size: int, stride: int, *, fused: bool, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        if fused:
            self.expand = nn.Sequential(*_conv_bn(in_channels, hidden, kernel_size, stride), nn.ReLU())
            self.depthwise = nn.Sequential()
        else:
            self.expand = nn.Sequential(*_conv_bn(in_channels, hidden), nn.ReLU())
            self.depthwise = nn.Sequential(*_conv_bn(hidden, hidden, kernel_size, stride, groups=hidden), nn.ReLU())
        self.project = nn.Sequential(*_conv_bn(hidden, out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Map B×in_channels×H×W to B×out_channels×(H / stride)×(W / stride)."""
        projected: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + projected if self.residual else projected


class MobileNetEdgeTPU(nn.Module):
    """The layers before the classifier; output stride 32 until `model.backbones.dilate` changes it.

    Args:
        depth_multiplier: scales the channels of all layers except the head.
    """

    def __init__(self, depth_multiplier: float = 1.0) -> None:
        super().__init__()
        stem, width = (_multiple_of_8(channels * depth_multiplier) for channels in (_STEM_CHANNELS, _FIRST_CHANNELS))
        self.stem = nn.Sequential(*_conv_bn(3, stem, 3, 2), nn.ReLU())
        blocks: list[nn.Module] = [nn.Sequential(*_conv_bn(stem, width))]
        for stage in _STAGES:
            channels = _multiple_of_8(stage.channels * depth_multiplier)
            for index in range(stage.units):
                hidden = width * (stage.expansion if index else stage.first_expansion)
                stride = 1 if index else stage.stride
                # A stage's first unit has no residual, even if its width and stride would allow one.
                blocks.append(Unit(width, hidden, channels, stage.kernel_size, stride, fused=stage.fused, residual=index > 0))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_conv_bn(width, _HEAD_CHANNELS), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Map images B×3×H×W to features B×1280×h×w."""
        features: Tensor = self.head(self.blocks(self.stem(images)))
        return features


def _multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
