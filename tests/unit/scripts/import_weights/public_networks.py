"""The networks of public DeepLab repositories, for tests of importing their weights.

They are written from the published structure: names, order of concatenation, padding, dilation and interpolation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from torchvision.models import resnet50, resnet101
from torchvision.models._utils import IntermediateLayerGetter

CLASSES = 3


def conv(in_channels: int, out_channels: int, kernel: int = 1, dilation: int = 1, **options: int) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False, **options)  # type: ignore[arg-type]


def conv_bn(in_channels: int, out_channels: int, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    return [conv(in_channels, out_channels, kernel, dilation), nn.BatchNorm2d(out_channels), nn.ReLU()]


def broadcast(pooled: Tensor, features: Tensor) -> Tensor:
    return pooled.expand(-1, -1, *features.shape[-2:])


class Pooling(nn.Sequential):
    def forward(self, features: Tensor) -> Tensor:
        return broadcast(super().forward(features), features)  # type: ignore[no-untyped-call]


def randomize(network: nn.Module) -> nn.Module:
    """Set statistics and weights that keep a network's activations near 1 at a depth of 100."""
    torch.manual_seed(0)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, *((0.4, 0.7) if name.startswith("backbone.") else (1.0, 2.0)))
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


# --- VainF/DeepLabV3Plus-Pytorch ---------------------------------------------------------------------------------------------


class VainfASPP(nn.Module):
    def __init__(self, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        branches = [nn.Sequential(*conv_bn(channels, 256)), *(nn.Sequential(*conv_bn(channels, 256, 3, r)) for r in rates)]
        self.convs = nn.ModuleList([*branches, Pooling(nn.AdaptiveAvgPool2d(1), *conv_bn(channels, 256))])
        self.project = nn.Sequential(*conv_bn(1280, 256), nn.Dropout(0.1))

    def forward(self, features: Tensor) -> Tensor:
        fused: Tensor = self.project(torch.cat([branch(features) for branch in self.convs], 1))
        return fused


class VainfHead(nn.Module):
    def __init__(self, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.classifier = nn.Sequential(VainfASPP(channels, rates), *conv_bn(256, 256, 3), nn.Conv2d(256, CLASSES, 1))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.classifier(features["out"])
        return logits


class VainfHeadPlus(nn.Module):
    def __init__(self, channels: int, rates: Sequence[int], low_level: int) -> None:
        super().__init__()
        self.project = nn.Sequential(*conv_bn(low_level, 48))
        self.aspp = VainfASPP(channels, rates)
        self.classifier = nn.Sequential(*conv_bn(304, 256, 3), nn.Conv2d(256, CLASSES, 1))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        low, high = self.project(features["low_level"]), self.aspp(features["out"])
        high = interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(torch.cat([low, high], 1))
        return logits


class PaddedUnit(nn.Module):
    """MobileNetV2's unit that pads its input, as in both repositories."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, dilation: int, expansion: int, *, nested: bool
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, 0, dilation, hidden, bias=False)
        groups = [[nn.Conv2d(in_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]] if expansion > 1 else []
        groups += [[depthwise, nn.BatchNorm2d(hidden), nn.ReLU6()]]
        expanded = [nn.Sequential(*group) for group in groups] if nested else [layer for group in groups for layer in group]
        self.conv = nn.Sequential(*expanded, nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.padding = dilation
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(pad(x, [self.padding] * 4))
        return x + y if self.residual else y


def mobilenet_features(output_stride: int, *, vainf: bool) -> nn.Sequential:
    units: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, 32, 3, 2, 0 if vainf else 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
    ]
    in_channels, current, rate = 32, 2, 1
    settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out_channels, count, stride in settings:
        previous = rate
        if current == output_stride:
            rate, stride = rate * stride, 1
        else:
            current *= stride
        for index in range(count):
            # One gives the new rate to all units after a stage's first, the other to none.
            dilation = (previous if index == 0 else rate) if vainf else previous if current == output_stride else 1
            units.append(PaddedUnit(in_channels, out_channels, stride if index == 0 else 1, dilation, expansion, nested=vainf))
            in_channels = out_channels
    return nn.Sequential(*units)


class VainfMobileNet(nn.Module):
    def __init__(self, output_stride: int) -> None:
        super().__init__()
        features = mobilenet_features(output_stride, vainf=True)
        self.low_level_features, self.high_level_features = features[:4], features[4:]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        low = self.low_level_features(images)
        return {"low_level": low, "out": self.high_level_features(low)}


class Vainf(nn.Module):
    def __init__(self, plus: bool, mobilenet: bool, output_stride: int) -> None:
        super().__init__()
        rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
        channels, low_level = (320, 24) if mobilenet else (2048, 256)
        if mobilenet:
            self.backbone: nn.Module = VainfMobileNet(output_stride)
        else:
            trunk = resnet50(replace_stride_with_dilation=[False, output_stride == 8, True])
            self.backbone = IntermediateLayerGetter(trunk, {"layer4": "out", **({"layer1": "low_level"} if plus else {})})
        self.classifier = VainfHeadPlus(channels, rates, low_level) if plus else VainfHead(channels, rates)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(images))
        return logits


# --- jfzhang95/pytorch-deeplab-xception --------------------------------------------------------------------------------------


class Branch(nn.Module):
    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.atrous_conv = conv(channels, 256, kernel, dilation)
        self.bn = nn.BatchNorm2d(256)

    def forward(self, features: Tensor) -> Tensor:
        normalized: Tensor = self.bn(self.atrous_conv(features))
        return normalized.relu()


class JfASPP(nn.Module):
    def __init__(self, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.aspp1 = Branch(channels, 1, 1)
        self.aspp2, self.aspp3, self.aspp4 = (Branch(channels, 3, rate) for rate in rates)
        self.global_avg_pool = Pooling(nn.AdaptiveAvgPool2d(1), *conv_bn(channels, 256))
        self.conv1, self.bn1 = conv(1280, 256), nn.BatchNorm2d(256)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x), self.global_avg_pool(x)]
        fused: Tensor = self.bn1(self.conv1(torch.cat(branches, 1)))
        return fused.relu()


class JfDecoder(nn.Module):
    def __init__(self, low_level: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(low_level, 48), nn.BatchNorm2d(48)
        first, second = [*conv_bn(304, 256, 3), nn.Dropout(0.5)], [*conv_bn(256, 256, 3), nn.Dropout(0.1)]
        self.last_conv = nn.Sequential(*first, *second, nn.Conv2d(256, CLASSES, 1))

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        low = self.bn1(self.conv1(low)).relu()
        high = interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=True)
        logits: Tensor = self.last_conv(torch.cat([high, low], 1))
        return logits


class JfMobileNet(nn.Module):
    """Its state dict has every tensor twice: under `features`, and under its part."""

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.features = mobilenet_features(output_stride, vainf=False)
        self.low_level_features, self.high_level_features = self.features[:4], self.features[4:]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low_level_features(images)
        return self.high_level_features(low), low


class JfResNet(nn.Module):
    def __init__(self, build: Callable[..., Any]) -> None:
        super().__init__()
        trunk = build(replace_stride_with_dilation=[False, False, True])
        for unit, rate in zip(trunk.layer4, (2, 4, 8), strict=True):
            unit.conv2.dilation = unit.conv2.padding = (rate, rate)
        self.conv1, self.bn1, self.maxpool = trunk.conv1, trunk.bn1, trunk.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low = self.layer1(self.maxpool(self.bn1(self.conv1(images)).relu()))
        return self.layer4(self.layer3(self.layer2(low))), low


class Jfzhang95(nn.Module):
    def __init__(self, mobilenet: bool, output_stride: int, resnet: Callable[..., Any] = resnet101) -> None:
        super().__init__()
        self.backbone = JfMobileNet(output_stride) if mobilenet else JfResNet(resnet)
        self.aspp = JfASPP(320 if mobilenet else 2048, (6, 12, 18) if output_stride == 16 else (12, 24, 36))
        self.decoder = JfDecoder(24 if mobilenet else 256)

    def forward(self, images: Tensor) -> Tensor:
        high, low = self.backbone(images)
        logits = self.decoder(self.aspp(high), low)
        return interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=True)


# --- open-mmlab/mmsegmentation -----------------------------------------------------------------------------------------------


class ConvModule(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, kernel, dilation, groups=groups)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.bn(self.conv(x))
        return normalized.relu()


class SeparableConvModule(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvModule(in_channels, in_channels, 3, dilation, groups=in_channels)
        self.pointwise_conv = ConvModule(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return mixed


class MmASPPHead(nn.Module):
    """`ASPPHead`, or with low-level features `DepthwiseSeparableASPPHead`."""

    def __init__(self, plus: bool, channels: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.image_pool = Pooling(nn.AdaptiveAvgPool2d(1), ConvModule(2048, channels))
        branch: Callable[[int], nn.Module] = (
            (lambda rate: SeparableConvModule(2048, channels, rate))
            if plus
            else lambda rate: ConvModule(2048, channels, 3, rate)
        )
        self.aspp_modules = nn.ModuleList([ConvModule(2048, channels), *map(branch, rates)])
        self.bottleneck = ConvModule(5 * channels, channels, 3)
        self.conv_seg = nn.Conv2d(channels, CLASSES, 1)
        if plus:
            self.c1_bottleneck = ConvModule(256, 48)
            self.sep_bottleneck = nn.Sequential(
                SeparableConvModule(channels + 48, channels), SeparableConvModule(channels, channels)
            )
        self.plus = plus

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        x = self.bottleneck(torch.cat([self.image_pool(high), *(module(high) for module in self.aspp_modules)], 1))
        if self.plus:
            low = self.c1_bottleneck(low)
            x = self.sep_bottleneck(torch.cat([interpolate(x, size=low.shape[2:], mode="bilinear"), low], 1))
        logits: Tensor = self.conv_seg(x)
        return logits


class MmFCNHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvModule(1024, 256, 3))
        self.conv_seg = nn.Conv2d(256, CLASSES, 1)


class MmResNet(nn.Module):
    def __init__(self, deep_stem: bool, output_stride: int) -> None:
        super().__init__()
        trunk = resnet50(replace_stride_with_dilation=[False, output_stride == 8, True])
        if deep_stem:
            first_layer = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
            more_layers = [*conv_bn(32, 32, 3), *conv_bn(32, 64, 3)]
            self.stem = nn.Sequential(first_layer, nn.BatchNorm2d(32), nn.ReLU(), *more_layers)
        else:
            self.conv1, self.bn1 = trunk.conv1, trunk.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4
        self.deep_stem = deep_stem

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(images) if self.deep_stem else self.bn1(self.conv1(images)).relu()
        low = self.layer1(nn.functional.max_pool2d(x, 3, 2, 1))
        return low, self.layer4(self.layer3(self.layer2(low)))


class Mmsegmentation(nn.Module):
    def __init__(self, plus: bool, deep_stem: bool = True, output_stride: int = 8, channels: int = 512) -> None:
        super().__init__()
        self.backbone = MmResNet(deep_stem, output_stride)
        self.decode_head = MmASPPHead(plus, channels, (6, 12, 18) if output_stride == 16 else (12, 24, 36))
        self.auxiliary_head = MmFCNHead()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.decode_head(*self.backbone(images))
        return logits
