"""Dilated backbones: torchvision's networks, kept at an output stride of 8 or 16, with declared stages and channels.

No weights are ever downloaded here: every network starts from random values.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from model.strict import ConfigurationError, nearest

from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor


@dataclass(frozen=True)
class Stage:
    """A feature map: the node that gives it (a submodule's name) and its number of channels."""

    node: str
    channels: int


@dataclass(frozen=True)
class Backbone:
    """How to build a trunk for an output stride, and the stages that heads read."""

    build: Callable[[int], nn.Module]
    out: Stage
    aux: Stage

    def extractor(self, output_stride: int, *, auxiliary: bool) -> nn.Module:
        """A module from images B×3×H×W to `{"out": features, "aux": features}`, `aux` only where asked for."""
        nodes = {self.out.node: "out"}
        if auxiliary:
            nodes[self.aux.node] = "aux"
        extractor: nn.Module = create_feature_extractor(self.build(output_stride), nodes)
        return extractor


def dilate(trunk: nn.Module, output_stride: int) -> nn.Module:
    """Trade stride for dilation, in place, so that `trunk` never goes beyond `output_stride`.

    Each convolution whose stride would pass it keeps stride 1, and those after it look as far as they did before by a dilation
    of twice as much. Weights keep their meaning. Fits trunks whose modules run in the order of their definition.
    """
    stride, dilation = 1, 1
    for conv in (module for module in trunk.modules() if isinstance(module, nn.Conv2d)):
        conv.dilation = (conv.dilation[0] * dilation, conv.dilation[1] * dilation)
        conv.padding = tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        if conv.stride[0] == 1:
            continue
        if stride < output_stride:
            stride *= conv.stride[0]
        else:
            dilation *= conv.stride[0]
            conv.stride = (1, 1)
    return trunk


def _resnet(network: Callable[..., nn.Module]) -> Callable[[int], nn.Module]:
    def build(output_stride: int) -> nn.Module:
        return network(weights=None, replace_stride_with_dilation=[False, output_stride == 8, True])

    return build


def _mobilenet_v2(output_stride: int) -> nn.Module:
    trunk: nn.Module = models.mobilenet_v2(weights=None).features
    return dilate(trunk, output_stride)


def _mobilenet_v3_large(output_stride: int) -> nn.Module:
    # Torchvision's own dilated form has output stride 16 and is what its published weights were trained with.
    trunk: nn.Module = models.mobilenet_v3_large(weights=None, dilated=True).features
    return dilate(trunk, output_stride)


BACKBONES: dict[str, Backbone] = {
    "resnet50": Backbone(_resnet(models.resnet50), out=Stage("layer4", 2048), aux=Stage("layer3", 1024)),
    "resnet101": Backbone(_resnet(models.resnet101), out=Stage("layer4", 2048), aux=Stage("layer3", 1024)),
    "mobilenet_v3_large": Backbone(_mobilenet_v3_large, out=Stage("16", 960), aux=Stage("4", 40)),
    # Without the last 1×1 convolution to 1280 channels, as in DeepLab's mobile form (Sandler et al. 2018, section 6.3).
    "mobilenet_v2": Backbone(_mobilenet_v2, out=Stage("17", 320), aux=Stage("13", 96)),
}


def find_backbone(name: str) -> Backbone:
    """The registered backbone called `name`.

    Raises:
        ConfigurationError: if there is none; the message names the nearest.
    """
    if name not in BACKBONES:
        raise ConfigurationError(f"unknown backbone {name!r}{nearest(name, BACKBONES)}")
    return BACKBONES[name]
