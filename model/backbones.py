"""Dilated backbones with declared stages: torchvision's by their names, and any that timm can dilate as `timm:NAME`.

No weights are ever downloaded here: every network starts from random values. torchvision and timm are imported when a backbone
is built, not with this module: a worker that serves a packaged graph builds none, and is 110 MB and 3 CPU-seconds lighter.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.strict import ConfigurationError, nearest

TIMM_PREFIX = "timm:"
#: Some that timm can dilate, for error messages; timm has hundreds.
TIMM_EXAMPLES = ("xception65", "resnet34", "mobilenetv2_100", "efficientnet_b0", "regnety_004", "convnext_tiny")

#: The stages that heads may read: `low` has stride 4, `aux` is the last but one, `out` the last.
STAGES = ("low", "aux", "out")


@dataclass(frozen=True)
class Backbone:
    """A trunk that is built."""

    #: From images B×3×H×W to the feature maps asked for, by stage.
    module: nn.Module
    #: Channels of each feature map, by stage.
    channels: Mapping[str, int]


@dataclass(frozen=True)
class Stage:
    """A feature map: the node that gives it (a submodule's name) and its number of channels."""

    node: str
    channels: int


@dataclass(frozen=True)
class TorchvisionBackbone:
    """How to build a trunk for an output stride, and its stages."""

    build: Callable[[int], nn.Module]
    low: Stage
    aux: Stage
    out: Stage

    def extract(self, output_stride: int, multi_grid: Sequence[int] | None, stages: Sequence[str]) -> Backbone:
        trunk = self.build(output_stride)
        if multi_grid is not None:
            apply_multi_grid(trunk, multi_grid, output_stride)
        chosen: dict[str, Stage] = {name: getattr(self, name) for name in stages}
        extractor = _extractor(trunk, {stage.node: name for name, stage in chosen.items()})
        return Backbone(extractor, {name: stage.channels for name, stage in chosen.items()})


def _extractor(trunk: nn.Module, names: Mapping[str, str]) -> nn.Module:
    """Return the part of `trunk` that gives the outputs of some of its nodes, called as `names` say, node to name."""
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor: nn.Module = create_feature_extractor(trunk, dict(names))
    return extractor


def dilate(trunk: nn.Module, output_stride: int) -> nn.Module:
    """Trade stride for dilation, in place, so that `trunk` never goes beyond `output_stride`.

    Each convolution or pooling whose stride would pass it keeps stride 1, and the convolutions after it look as far as they did
    before by a dilation of twice as much. Weights keep their meaning. Fits trunks whose modules run in the order of their
    definition.
    """
    stride, dilation = 1, 1
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.dilation = (module.dilation[0] * dilation, module.dilation[1] * dilation)
            module.padding = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
            step = module.stride[0]
        elif isinstance(module, nn.MaxPool2d):
            step = int(module.stride)  # type: ignore[arg-type]  # VGG's are all integers.
        else:
            continue
        if step == 1:
            continue
        if stride < output_stride:
            stride *= step
            continue
        dilation *= step
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        else:
            # 3×3, since a 2×2 pooling of stride 1 would move the picture by half a cell (Chen et al. 2015, section 3.1).
            module.kernel_size, module.stride, module.padding = 3, 1, 1
    return trunk


def apply_multi_grid(trunk: nn.Module, multi_grid: Sequence[int], output_stride: int) -> None:
    """Give the units of a ResNet's last stage, in place, dilations of `multi_grid` times the stage's own.

    The stage's own is 2 at output stride 16 and 4 at 8 (Chen et al. 2017, section 3.1).

    Raises:
        ConfigurationError: not a ResNet, or another number of units.
    """
    stage = getattr(trunk, "layer4", None)
    if not isinstance(stage, nn.Sequential):
        raise ConfigurationError(
            f"multi_grid {tuple(multi_grid)}: is for ResNets, whose last stage has units to dilate; "
            "take resnet50, resnet101 or a ResNet of timm's, or leave it out"
        )
    if len(stage) != len(multi_grid):
        raise ConfigurationError(
            f"multi_grid {tuple(multi_grid)}: needs {len(stage)} factors, one for each unit of the last stage"
        )
    for unit, factor in zip(stage, multi_grid, strict=True):
        for conv in (module for module in unit.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)):
            conv.dilation = conv.padding = (32 // output_stride * factor,) * 2


def _torchvision_models() -> Any:
    from model import torchvision_ops  # noqa: F401, lets the next line succeed

    from torchvision import models

    return models


def _timm_library() -> Any:
    from model import torchvision_ops  # noqa: F401, timm imports torchvision

    import timm

    return timm


def _resnet(name: str) -> Callable[[int], nn.Module]:
    def build(output_stride: int) -> nn.Module:
        trunk: nn.Module = getattr(_torchvision_models(), name)(
            weights=None, replace_stride_with_dilation=[False, output_stride == 8, True]
        )
        return trunk

    return build


def _mobilenet_v2(output_stride: int) -> nn.Module:
    trunk: nn.Module = _torchvision_models().mobilenet_v2(weights=None).features
    return dilate(trunk, output_stride)


def _mobilenet_v3_large(output_stride: int) -> nn.Module:
    # Torchvision's own dilated form has output stride 16 and is what its published weights were trained with.
    trunk: nn.Module = _torchvision_models().mobilenet_v3_large(weights=None, dilated=True).features
    return dilate(trunk, output_stride)


def _vgg16(output_stride: int) -> nn.Module:
    trunk: nn.Module = _torchvision_models().vgg16(weights=None).features
    for pool in (module for module in trunk.children() if isinstance(module, nn.MaxPool2d)):
        pool.ceil_mode = True  # As Caffe's, for which it was made: no row or column of the image is dropped.
    return dilate(trunk, output_stride)


_RESNET_STAGES = {"low": Stage("layer1", 256), "aux": Stage("layer3", 1024), "out": Stage("layer4", 2048)}

BACKBONES: dict[str, TorchvisionBackbone] = {
    "resnet50": TorchvisionBackbone(_resnet("resnet50"), **_RESNET_STAGES),
    "resnet101": TorchvisionBackbone(_resnet("resnet101"), **_RESNET_STAGES),
    "mobilenet_v3_large": TorchvisionBackbone(
        _mobilenet_v3_large, low=Stage("3", 24), aux=Stage("4", 40), out=Stage("16", 960)
    ),
    # Without the last 1×1 convolution to 1280 channels, as in DeepLab's mobile form (Sandler et al. 2018, section 6.3).
    "mobilenet_v2": TorchvisionBackbone(_mobilenet_v2, low=Stage("3", 24), aux=Stage("13", 96), out=Stage("17", 320)),
    "vgg16": TorchvisionBackbone(_vgg16, low=Stage("15", 256), aux=Stage("22", 512), out=Stage("30", 512)),
}


def build_backbone(
    name: str, output_stride: int, stages: Sequence[str] = ("out",), multi_grid: Sequence[int] | None = None
) -> Backbone:
    """The backbone called `name`, never beyond `output_stride`, giving the feature maps of `stages`.

    Raises:
        ConfigurationError: it does not exist, cannot be dilated, or lacks a stage; the message says which would do.
    """
    if name.startswith(TIMM_PREFIX):
        return _timm(name.removeprefix(TIMM_PREFIX), output_stride, stages, multi_grid)
    if name not in BACKBONES:
        raise ConfigurationError(f"unknown backbone {name!r}{nearest(name, [*BACKBONES, 'timm:NAME'])}")
    return BACKBONES[name].extract(output_stride, multi_grid, stages)


class TimmFeatures(nn.Module):
    """One of timm's encoders, its feature maps by stage."""

    def __init__(self, encoder: nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self._stages = tuple(stages)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images B×3×H×W to feature maps by stage."""
        return dict(zip(self._stages, self.encoder(images), strict=True))


def _timm(name: str, output_stride: int, stages: Sequence[str], multi_grid: Sequence[int] | None) -> Backbone:
    timm = _timm_library()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        suggestion = f", did you mean 'timm:{close[0]}'?" if close else ""
        raise ConfigurationError(f"unknown backbone 'timm:{name}'{suggestion} (timm.list_models() lists them)")
    info = _timm_feature_info(name, output_stride)
    strides, channels = info.reduction(), info.channels()
    if strides[-1] != output_stride:
        raise _cannot_be_dilated(name, output_stride)
    if "low" in stages and 4 not in strides:
        raise ConfigurationError(
            f"backbone 'timm:{name}' has features at the strides {strides}, none at 4, where detail is read"
        )
    index = {"low": strides.index(4) if 4 in strides else -1, "aux": len(strides) - 2, "out": len(strides) - 1}
    # timm gives feature maps in the order of its stages, whatever the order they are asked for.
    ordered = sorted(stages, key=index.__getitem__)
    indices = tuple(index[stage] for stage in ordered)
    encoder = timm.create_model(name, pretrained=False, features_only=True, output_stride=output_stride, out_indices=indices)
    if multi_grid is not None:
        apply_multi_grid(encoder, multi_grid, output_stride)
    return Backbone(TimmFeatures(encoder, ordered), {stage: channels[index[stage]] for stage in ordered})


def _timm_feature_info(name: str, output_stride: int) -> Any:
    """Timm's FeatureInfo: what it declares of all feature maps of `name`, found without making its weights."""
    timm = _timm_library()
    try:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False, features_only=True, output_stride=output_stride).feature_info
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        # Each family refuses in its own way what it cannot do: vision transformers by TypeError, VGGs by AssertionError.
        raise _cannot_be_dilated(name, output_stride) from error


def _cannot_be_dilated(name: str, output_stride: int) -> ConfigurationError:
    return ConfigurationError(
        f"backbone 'timm:{name}' cannot be dilated to output stride {output_stride}; "
        f"among those that can: {', '.join(TIMM_PREFIX + example for example in TIMM_EXAMPLES)}"
    )
