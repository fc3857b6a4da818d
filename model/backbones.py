"""Dilated backbones: torchvision's by name, and any that timm can dilate as `timm:NAME`.

Nothing is downloaded; weights are random. torchvision and timm are imported only when a backbone is built, which saves 110 MB
and 3 s of CPU time in a worker that serves a packaged graph.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from model.meta_device import on_meta_device
from model.strict import ConfigurationError, name_hint

TIMM_PREFIX = "timm:"
#: Examples for error messages; timm can dilate hundreds.
TIMM_EXAMPLES = ("xception65", "resnet34", "mobilenetv2_100", "efficientnet_b0", "regnety_004", "convnext_tiny")

#: The stages that heads can use: `low` has stride 4, `aux` is the second to last, `out` the last.
STAGES = ("low", "aux", "out")
#: The depthwise convolution within the unit that computes `low`, in backbones with inverted residuals.
LOW_DEPTHWISE = "low_depthwise"


@dataclass(frozen=True)
class Backbone:
    """A backbone ready to use."""

    #: Maps images B×3×H×W to the requested feature maps, by stage.
    module: nn.Module
    #: Channels of each feature map, by stage.
    channels: Mapping[str, int]


@dataclass(frozen=True)
class Stage:
    """A feature map: the node (a submodule's name) that computes it, and its channels."""

    node: str
    channels: int


@dataclass(frozen=True)
class TorchvisionBackbone:
    """How to build one of torchvision's backbones for an output stride, and where its stages are."""

    build: Callable[[int], nn.Module]
    low: Stage
    aux: Stage
    out: Stage
    low_depthwise: Stage | None = None

    def extract(
        self, output_stride: int, multi_grid: Sequence[int] | None, stages: Sequence[str], trailing_padding: Sequence[int]
    ) -> Backbone:
        """Build the backbone and reduce it to the feature maps of `stages`, which must exist."""
        trunk = self.build(output_stride)
        if trailing_padding:
            use_trailing_padding(trunk, trailing_padding)
        if multi_grid is not None:
            apply_multi_grid(trunk, multi_grid, output_stride)
        selected_stages: dict[str, Stage] = {name: getattr(self, name) for name in stages}
        extractor = _build_extractor(trunk, {stage.node: name for name, stage in selected_stages.items()})
        return Backbone(extractor, {name: stage.channels for name, stage in selected_stages.items()})


def _build_extractor(trunk: nn.Module, output_names: Mapping[str, str]) -> nn.Module:
    """Return the part of `trunk` that computes the nodes in `output_names`, which maps each node to its output's name."""
    from model import torchvision_ops  # noqa: F401, must precede torchvision

    from torchvision.models.feature_extraction import create_feature_extractor

    leaves = {"leaf_modules": [TrailingPaddingConv2d]}
    extractor: nn.Module = create_feature_extractor(trunk, dict(output_names), tracer_kwargs=leaves)
    return extractor


def dilate(trunk: nn.Module, output_stride: int) -> nn.Module:
    """Replace strides beyond `output_stride` with dilation, in place.

    A convolution or pooling that would exceed it gets stride 1, and the dilation of all later convolutions doubles, which
    preserves their field of view in the image and the meaning of the weights. The trunk's modules must run in the order in
    which they are defined.
    """
    stride, dilation = 1, 1
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.dilation = (module.dilation[0] * dilation, module.dilation[1] * dilation)
            module.padding = tuple(d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True))
            step = module.stride[0]
        elif isinstance(module, nn.MaxPool2d):
            step = int(module.stride)  # type: ignore[arg-type]  # VGG's strides are integers.
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
            # A 2×2 pooling with stride 1 would shift features by half a cell (Chen et al. 2015, section 3.1).
            module.kernel_size, module.stride, module.padding = 3, 1, 1
    return trunk


class TrailingPaddingConv2d(nn.Conv2d):
    """A convolution that pads like TensorFlow's SAME with stride 2 and even sizes: a 3×3 kernel only below and to the right.

    At odd sizes, where SAME pads both sides equally, this still pads as for even sizes.
    """

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> Self:
        """Return a convolution with the shape of `conv` and new weights."""
        kernel_size, stride, dilation = (_to_pair(sides) for sides in (conv.kernel_size, conv.stride, conv.dilation))
        return cls(conv.in_channels, conv.out_channels, kernel_size, stride, 0, dilation, conv.groups, conv.bias is not None)

    def forward(self, features: Tensor) -> Tensor:
        """Map B×in_channels×H×W to B×out_channels×ceil(H / stride)×ceil(W / stride)."""
        padding = []
        for rate, size in zip(self.dilation[::-1], self.kernel_size[::-1], strict=True):
            total = rate * (size - 1)
            before = max(0, (total - 1) // 2)
            padding += [before, total - before]
        return super().forward(nn.functional.pad(features, padding))


def _to_pair(sides: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = sides
    return rows, columns


def use_trailing_padding(trunk: nn.Module, strides: Sequence[int]) -> None:
    """Replace the convolutions that reach one of `strides` with `TrailingPaddingConv2d`, in place.

    Their cells move right and down by one input cell. The trunk's modules must run in the order in which they are defined.

    Raises:
        ConfigurationError: `trunk` has a pooling layer, or a strided convolution that does not pad both sides equally.
    """
    strided = [(name, conv) for name, conv in trunk.named_modules() if isinstance(conv, nn.Conv2d) and conv.stride != (1, 1)]
    pools = any(isinstance(module, nn.MaxPool2d) for module in trunk.modules())
    if pools or not all(_pads_both_sides(conv) for _, conv in strided):
        raise ConfigurationError(
            f"trailing_padding {tuple(strides)}: needs a backbone without pooling whose convolutions pad, such as mobilenet_v2"
        )
    stride = 1
    for name, conv in strided:
        stride *= conv.stride[0]
        if stride in strides:
            trunk.set_submodule(name, TrailingPaddingConv2d.from_conv(conv))


def _pads_both_sides(conv: nn.Conv2d) -> bool:
    sides = zip(conv.dilation, conv.kernel_size, strict=True)
    return conv.padding == tuple(rate * (size - 1) // 2 for rate, size in sides)


def apply_multi_grid(trunk: nn.Module, multi_grid: Sequence[int], output_stride: int) -> None:
    """Multiply the dilations in a ResNet's last stage by `multi_grid`, one factor per unit, in place.

    The dilations are 2 at output stride 16 and 4 at 8 (Chen et al. 2017, section 3.1).

    Raises:
        ConfigurationError: `trunk` is not a ResNet, or `multi_grid` does not have one factor per unit.
    """
    stage = getattr(trunk, "layer4", None)
    if not isinstance(stage, nn.Sequential):
        raise ConfigurationError(
            f"multi_grid {tuple(multi_grid)}: needs a ResNet, whose last stage has residual units; "
            "use resnet50, resnet101 or a ResNet from timm, or omit multi_grid"
        )
    if len(stage) != len(multi_grid):
        raise ConfigurationError(f"multi_grid {tuple(multi_grid)}: needs {len(stage)} factors, one per unit of the last stage")
    for unit, factor in zip(stage, multi_grid, strict=True):
        for conv in (module for module in unit.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)):
            conv.dilation = conv.padding = (32 // output_stride * factor,) * 2


def _torchvision_models() -> Any:
    from model import torchvision_ops  # noqa: F401, must precede torchvision

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


def _mobilenet_v2_padded_first(output_stride: int) -> nn.Module:
    """Build the MobileNetV2 of pytorch-deeplab-xception and DeepLabV3Plus-Pytorch, whose units pad before they expand.

    The padding passes through the expansion's normalization, so it is not 0 for the depthwise convolution.
    """
    trunk = _mobilenet_v2(output_stride)
    for unit in (module for module in trunk.modules() if type(module).__name__ == "InvertedResidual"):
        convolutions = [module for module in unit.modules() if isinstance(module, nn.Conv2d)]
        if len(convolutions) == 3:
            expansion, depthwise, _ = convolutions
            expansion.padding, depthwise.padding = depthwise.padding, (0, 0)
    return trunk


def _mobilenet_v2_vainf(output_stride: int) -> nn.Module:
    trunk = _mobilenet_v2_padded_first(output_stride)
    trunk[0][0].padding = (0, 0)  # type: ignore[index]  # The first convolution does not pad.
    return trunk


def _mobilenet_v2_jfzhang95(output_stride: int) -> nn.Module:
    trunk = _mobilenet_v2_padded_first(output_stride)
    # Rates grow one stage late: every unit of the stage that would exceed the output stride has the previous stage's rate.
    rates = {8: [(range(7, 11), 1), (range(11, 17), 2), (range(17, 18), 4)], 16: [(range(14, 17), 1), (range(17, 18), 2)]}
    for units, rate in rates[output_stride]:
        for number in units:
            expansion, depthwise, _ = (module for module in trunk[number].modules() if isinstance(module, nn.Conv2d))  # type: ignore[index]
            depthwise.dilation = expansion.padding = (rate, rate)
    return trunk


def _mobilenet_v3_large(output_stride: int) -> nn.Module:
    # `dilated=True` gives output stride 16; torchvision's published weights were trained with it.
    trunk: nn.Module = _torchvision_models().mobilenet_v3_large(weights=None, dilated=True).features
    return dilate(trunk, output_stride)


def _mobilenet_edgetpu_075(output_stride: int) -> nn.Module:
    from model.mobilenet_edgetpu import MobileNetEdgeTPU

    return dilate(MobileNetEdgeTPU(0.75), output_stride)


def _vgg16(output_stride: int) -> nn.Module:
    vgg = _torchvision_models().vgg
    # As `vgg16()`, but without its classifier, for which it would draw 120 million weights.
    trunk: nn.Module = vgg.make_layers(vgg.cfgs["D"])
    for conv in (module for module in trunk.children() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    for pool in (module for module in trunk.children() if isinstance(module, nn.MaxPool2d)):
        pool.ceil_mode = True  # As in Caffe, for which VGG was written; keeps the last row and column.
    return dilate(trunk, output_stride)


_RESNET_STAGES = {"low": Stage("layer1", 256), "aux": Stage("layer3", 1024), "out": Stage("layer4", 2048)}
_MOBILENET_V2_STAGES = {
    "low": Stage("3", 24),
    "low_depthwise": Stage("3.conv.1", 144),
    "aux": Stage("13", 96),
    "out": Stage("17", 320),
}

#: Backbones that use another one's weights, but compute differently.
VARIANTS = {"mobilenet_v2_vainf": "mobilenet_v2", "mobilenet_v2_jfzhang95": "mobilenet_v2"}

BACKBONES: dict[str, TorchvisionBackbone] = {
    "resnet50": TorchvisionBackbone(_resnet("resnet50"), **_RESNET_STAGES),
    "resnet101": TorchvisionBackbone(_resnet("resnet101"), **_RESNET_STAGES),
    "mobilenet_v3_large": TorchvisionBackbone(
        _mobilenet_v3_large,
        low=Stage("3", 24),
        low_depthwise=Stage("3.block.1", 72),
        aux=Stage("4", 40),
        out=Stage("16", 960),
    ),
    # Without the last 1×1 convolution (1280 channels), as in Sandler et al. 2018, section 6.3.
    "mobilenet_v2": TorchvisionBackbone(_mobilenet_v2, **_MOBILENET_V2_STAGES),
    "mobilenet_v2_vainf": TorchvisionBackbone(_mobilenet_v2_vainf, **_MOBILENET_V2_STAGES),
    "mobilenet_v2_jfzhang95": TorchvisionBackbone(_mobilenet_v2_jfzhang95, **_MOBILENET_V2_STAGES),
    "mobilenet_edgetpu_075": TorchvisionBackbone(
        _mobilenet_edgetpu_075, low=Stage("blocks.4", 24), aux=Stage("blocks.16", 72), out=Stage("head", 1280)
    ),
    "vgg16": TorchvisionBackbone(_vgg16, low=Stage("15", 256), aux=Stage("22", 512), out=Stage("30", 512)),
}


def build_backbone(
    name: str,
    output_stride: int,
    stages: Sequence[str] = ("out",),
    multi_grid: Sequence[int] | None = None,
    trailing_padding: Sequence[int] = (),
) -> Backbone:
    """Build a backbone that returns the feature maps of `stages`.

    Args:
        name: a key of `BACKBONES`, or `timm:NAME`.
        output_stride: input pixels per cell of the last feature map.
        stages: a selection of `STAGES` and `LOW_DEPTHWISE`.
        multi_grid: see `apply_multi_grid`.
        trailing_padding: strides; see `use_trailing_padding`.

    Raises:
        ConfigurationError: the backbone does not exist, cannot be dilated, or lacks a stage; the message suggests others.
    """
    backbone = BACKBONES.get(name)
    if backbone is None and not name.startswith(TIMM_PREFIX):
        raise ConfigurationError(f"unknown backbone {name!r}{name_hint(name, [*BACKBONES, 'timm:NAME'])}")
    if LOW_DEPTHWISE in stages and (backbone is None or backbone.low_depthwise is None):
        suitable = ", ".join(name for name, candidate in BACKBONES.items() if candidate.low_depthwise)
        raise ConfigurationError(f"low_level_tap 'depthwise': backbone {name!r} does not support it; these do: {suitable}")
    if backbone is not None:
        return backbone.extract(output_stride, multi_grid, stages, trailing_padding)
    if trailing_padding:
        raise ConfigurationError(
            f"trailing_padding {tuple(trailing_padding)}: {name!r} does not support it; timm's 'tf_' models pad like TensorFlow"
        )
    return _build_timm(name.removeprefix(TIMM_PREFIX), output_stride, stages, multi_grid)


class TimmFeatures(nn.Module):
    """A timm encoder that returns its feature maps by stage."""

    def __init__(self, encoder: nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self._stages = tuple(stages)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images B×3×H×W to feature maps by stage."""
        return dict(zip(self._stages, self.encoder(images), strict=True))


def _build_timm(name: str, output_stride: int, stages: Sequence[str], multi_grid: Sequence[int] | None) -> Backbone:
    timm = _timm_library()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        suggestion = f", did you mean 'timm:{close[0]}'?" if close else ""
        raise ConfigurationError(f"unknown backbone 'timm:{name}'{suggestion} (timm.list_models() lists them)")
    info = _timm_feature_info(name, output_stride)
    strides, channels = info.reduction(), info.channels()
    if strides[-1] != output_stride:
        raise _dilation_error(name, output_stride)
    if "low" in stages and 4 not in strides:
        raise ConfigurationError(
            f"backbone 'timm:{name}' has features at strides {strides} but none at 4, which the decoder reads"
        )
    stage_indices = {"low": strides.index(4) if 4 in strides else -1, "aux": len(strides) - 2, "out": len(strides) - 1}
    # timm returns feature maps in the order of its stages, regardless of the order of `out_indices`.
    ordered_stages = sorted(stages, key=stage_indices.__getitem__)
    indices = tuple(stage_indices[stage] for stage in ordered_stages)
    encoder = timm.create_model(name, pretrained=False, features_only=True, output_stride=output_stride, out_indices=indices)
    if multi_grid is not None:
        apply_multi_grid(encoder, multi_grid, output_stride)
    return Backbone(TimmFeatures(encoder, ordered_stages), {stage: channels[stage_indices[stage]] for stage in ordered_stages})


def _timm_feature_info(name: str, output_stride: int) -> Any:
    """Return timm's FeatureInfo for `name`, with its feature maps' strides and channels, without allocating weights."""
    timm = _timm_library()
    try:
        with on_meta_device():
            return timm.create_model(name, pretrained=False, features_only=True, output_stride=output_stride).feature_info
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        # Families fail differently: vision transformers with a TypeError, VGGs with an AssertionError.
        raise _dilation_error(name, output_stride) from error


def _dilation_error(name: str, output_stride: int) -> ConfigurationError:
    return ConfigurationError(
        f"backbone 'timm:{name}' cannot be dilated to output stride {output_stride}; "
        f"use, for example, {', '.join(TIMM_PREFIX + example for example in TIMM_EXAMPLES)}"
    )
