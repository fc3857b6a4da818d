"""The two published networks, written independently of the family from their descriptions, with random weights.

Every layer is a convolution with a bias and TensorFlow's SAME padding.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


class FoldedLayers:
    """Convolutions by name, with weights drawn at their first use."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._random = torch.Generator().manual_seed(0)

    def __call__(
        self, name: str, image: Tensor, out: int, kernel: int = 1, stride: int = 1, rate: int = 1, *, depthwise: bool = False
    ) -> Tensor:
        in_channels = image.shape[1]
        group_channels = 1 if depthwise else in_channels
        if f"{name}.weight" not in self.weights:
            std = (2 / (group_channels * kernel**2)) ** 0.5
            self.weights[f"{name}.weight"] = torch.randn(out, group_channels, kernel, kernel, generator=self._random) * std
            self.weights[f"{name}.bias"] = torch.randn(out, generator=self._random) * 0.1
        padding = [edge for side in (image.shape[3], image.shape[2]) for edge in same_padding(side, kernel, stride, rate)]
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv2d(F.pad(image, padding), weight, bias, stride, 0, rate, in_channels if depthwise else 1)


def same_padding(side: int, kernel: int, stride: int, rate: int) -> tuple[int, int]:
    total = max((-(-side // stride) - 1) * stride + (kernel - 1) * rate + 1 - side, 0)
    return total // 2, total - total // 2


def pyramid(layers: FoldedLayers, image: Tensor, channels: int) -> Tensor:
    pooled = layers("aspp_pooling.0", image.mean((2, 3), keepdim=True), channels).relu().expand(-1, -1, *image.shape[2:])
    local = layers("aspp_conv1x1.0", image, channels).relu()
    return layers("project.0", torch.cat([pooled, local], 1), channels).relu()


def resize_legacy(image: Tensor, side: int) -> Tensor:
    """Enlarge as TensorFlow 1 does: pixel `i` is at `i * in / out`."""
    for axis in (2, 3):
        count = image.shape[axis]
        position = torch.arange(side) * count / side
        low = position.floor().long()
        shape = [side if number == axis else 1 for number in range(4)]
        fraction = (position - low).view(shape)
        high = (low + 1).clamp_max(count - 1)
        image = image.index_select(axis, low) * (1 - fraction) + image.index_select(axis, high) * fraction
    return image


def scenes(layers: FoldedLayers, image: Tensor) -> Tensor:
    side, image = image.shape[2], layers("features.0.0", image, 32, 3, 2).clamp(0, 6)
    units = [(1, 16, 1, 1), *[(6, 24, s, 1) for s in (2, 1)], *[(6, 32, s, 1) for s in (2, 1, 1)]]
    units += [(6, 64, s, 1) for s in (2, 1, 1, 1)] + [(6, 96, 1, 1)] * 3 + [(6, 160, 1, rate) for rate in (1, 2, 2)]
    low = image
    for number, (expansion, channels, stride, rate) in enumerate([*units, (6, 320, 1, 2)], 1):
        name, shortcut, inner = f"features.{number}.conv", image, image
        if expansion > 1:
            inner = layers(f"{name}.0.0", image, image.shape[1] * expansion).clamp(0, 6)
        depthwise = f"{name}.1.0" if expansion > 1 else f"{name}.0.0"
        inner = layers(depthwise, inner, inner.shape[1], 3, stride, rate, depthwise=True).clamp(0, 6)
        low = inner if number == 3 else low
        image = layers(f"{name}.{2 if expansion > 1 else 1}", inner, channels)
        image = image + shortcut if shortcut.shape == image.shape else image
    image = torch.cat([resize_legacy(pyramid(layers, image, 256), side // 4), layers("low_level.0", low, 48).relu()], 1)
    for number in (0, 2):
        image = layers(f"decoder.{number}", image, image.shape[1], 3, depthwise=True).relu()
        image = layers(f"decoder.{number + 1}", image, 256).relu()
    return resize_legacy(layers("classifier", image, 32), side)


def streets(layers: FoldedLayers, image: Tensor) -> Tensor:
    side, image = image.shape[2], layers("stem", image, 24, 3, 2).relu()
    image = layers("blocks.0.project", image, 16)
    fused = [(8, 24, 2), *[(4, 24, 1)] * 3, (8, 40, 2), *[(4, 40, 1)] * 3]
    depthwise = [(8, 72, 3, 2, 1), *[(4, 72, 3, 1, 1)] * 3, (8, 72, 3, 1, 1), *[(4, 72, 3, 1, 1)] * 3]
    depthwise += [(8, 120, 5, 1, 1), *[(4, 120, 5, 1, 2)] * 3, (8, 144, 3, 1, 2)]
    for number, (expansion, channels, *convolution_arguments) in enumerate([*fused, *depthwise], 1):
        name, shortcut = f"blocks.{number}", image
        if len(convolution_arguments) == 1:
            image = layers(f"{name}.expand", image, image.shape[1] * expansion, 3, convolution_arguments[0]).relu()
        else:
            image = layers(f"{name}.expand", image, image.shape[1] * expansion).relu()
            image = layers(f"{name}.depthwise", image, image.shape[1], *convolution_arguments, depthwise=True).relu()
        image = layers(f"{name}.project", image, channels)
        image = image + shortcut if expansion == 4 else image
    image = layers("classifier", pyramid(layers, layers("head", image, 1280).relu(), 128), 19)
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=True)
