"""DeepLabs from public repositories: their tensor names, and what their networks compute differently.

- VainF's DeepLabV3Plus-Pytorch: https://github.com/VainF/DeepLabV3Plus-Pytorch
- jfzhang95's pytorch-deeplab-xception: https://github.com/jfzhang95/pytorch-deeplab-xception
- mmsegmentation's `ASPPHead` and `DepthwiseSeparableASPPHead`: https://github.com/open-mmlab/mmsegmentation
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from model import ModelConfig
from scripts.import_weights.imported_weights import ImportFailed
from scripts.import_weights.layouts import Layout
from scripts.weight_files.tensor_maps import WeightsFile

_PLUS = "deeplabv3plus"

#: Pairs of a pattern and a replacement.
_VAINF_BACKBONE = [(r"backbone\.(?:low|high)_level_features\.", "backbone.")]
_VAINF_RULES = {
    "deeplabv3": [*_VAINF_BACKBONE, (r"classifier\.classifier\.", "classifier.")],
    _PLUS: [
        *_VAINF_BACKBONE,
        (r"classifier\.project\.", "classifier.low_level."),
        (r"classifier\.classifier\.([01])\.", r"classifier.refine.0.\1."),
        (r"classifier\.classifier\.3\.", "classifier.classifier."),
    ],
}

_JFZHANG95_UNIT = r"backbone\.(?:features|low_level_features|high_level_features)\."
_JFZHANG95_RULES = {
    _PLUS: [
        *((rf"aspp\.aspp{n + 1}\.atrous_conv\.", f"classifier.aspp.convs.{n}.0.") for n in range(4)),
        *((rf"aspp\.aspp{n + 1}\.bn\.", f"classifier.aspp.convs.{n}.1.") for n in range(4)),
        (r"aspp\.global_avg_pool\.", "classifier.aspp.convs.4."),
        (r"aspp\.conv1\.", "classifier.aspp.project.0."),
        (r"aspp\.bn1\.", "classifier.aspp.project.1."),
        (r"decoder\.conv1\.", "classifier.low_level.0."),
        (r"decoder\.bn1\.", "classifier.low_level.1."),
        (r"decoder\.last_conv\.([01])\.", r"classifier.refine.0.\1."),
        (r"decoder\.last_conv\.4\.", "classifier.refine.1.0."),
        (r"decoder\.last_conv\.5\.", "classifier.refine.1.1."),
        (r"decoder\.last_conv\.8\.", "classifier.classifier."),
        # The first unit has no expansion.
        (_JFZHANG95_UNIT + r"1\.conv\.([01])\.", r"backbone.1.conv.0.\1."),
        (_JFZHANG95_UNIT + r"1\.conv\.3\.", "backbone.1.conv.1."),
        (_JFZHANG95_UNIT + r"1\.conv\.4\.", "backbone.1.conv.2."),
        (_JFZHANG95_UNIT + r"(\d+)\.conv\.([01])\.", r"backbone.\1.conv.0.\2."),
        (_JFZHANG95_UNIT + r"(\d+)\.conv\.3\.", r"backbone.\1.conv.1.0."),
        (_JFZHANG95_UNIT + r"(\d+)\.conv\.4\.", r"backbone.\1.conv.1.1."),
        (_JFZHANG95_UNIT + r"(\d+)\.conv\.6\.", r"backbone.\1.conv.2."),
        (_JFZHANG95_UNIT + r"(\d+)\.conv\.7\.", r"backbone.\1.conv.3."),
        (_JFZHANG95_UNIT, "backbone."),
    ]
}

#: Layers of mmcv's modules, by their index in ours.
_MODULE_LAYERS = {
    "conv": 0,
    "bn": 1,
    "depthwise_conv.conv": 0,
    "depthwise_conv.bn": 1,
    "pointwise_conv.conv": 3,
    "pointwise_conv.bn": 4,
}
_MMSEGMENTATION_SHARED = [
    (r"backbone\.stem\.7\.", "backbone.encoder.bn1."),
    (r"backbone\.stem\.", "backbone.encoder.conv1."),
    (r"auxiliary_head\.convs\.0\.conv\.", "aux_classifier.0."),
    (r"auxiliary_head\.convs\.0\.bn\.", "aux_classifier.1."),
    (r"auxiliary_head\.conv_seg\.", "aux_classifier.4."),
]
_MMSEGMENTATION_RULES = {
    architecture: [
        *_MMSEGMENTATION_SHARED,
        (r"decode_head\.image_pool\.1\.conv\.", f"{aspp}.convs.4.1."),
        (r"decode_head\.image_pool\.1\.bn\.", f"{aspp}.convs.4.2."),
        *((rf"decode_head\.aspp_modules\.(\d+)\.{k}\.", rf"{aspp}.convs.\1.{v}.") for k, v in _MODULE_LAYERS.items()),
        *((rf"decode_head\.bottleneck\.{k}\.", f"{aspp}.project.{v}.") for k, v in _MODULE_LAYERS.items()),
        *((rf"decode_head\.c1_bottleneck\.{k}\.", f"classifier.low_level.{v}.") for k, v in _MODULE_LAYERS.items()),
        *((rf"decode_head\.sep_bottleneck\.(\d)\.{k}\.", rf"classifier.refine.\1.{v}.") for k, v in _MODULE_LAYERS.items()),
        (r"decode_head\.conv_seg\.", f"{classifier}."),
    ]
    for architecture, aspp, classifier in (
        ("deeplabv3", "classifier.0", "classifier.1"),
        (_PLUS, "classifier.aspp", "classifier.classifier"),
    )
}


class PublicLayout(Layout):
    """A layout that rewrites names with the first regular expression that matches."""

    #: Name suffixes that only this project uses; one is enough to recognise it.
    markers: tuple[str, ...]
    #: Pairs of a pattern and a replacement, by architecture.
    rules: Mapping[str, Sequence[tuple[str, str]]]

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    def rename(self, name: str) -> str:
        for pattern, replacement in self.rules[self.architecture]:
            renamed, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                return renamed
        return name

    def unsupported(self, reason: str) -> ImportFailed:
        """Return the error for a network that has no equivalent in this project."""
        return ImportFailed(f"weights of {self.project}: {reason}")

    def notes(self, model: ModelConfig) -> tuple[str, ...]:
        return (
            f"{self.project}: its weights do not contain the output stride; {model.output_stride} is assumed (--output-stride)",
        )


class VainfLayout(PublicLayout):
    """DeepLabV3Plus-Pytorch: the decoder has one 3×3 convolution, which takes the low-level features first."""

    project = "DeepLabV3Plus-Pytorch (VainF)"
    markers = ("classifier.classifier.0.convs.0.0.weight", "classifier.project.0.weight")
    rules = _VAINF_RULES

    def configure(self, model: ModelConfig, tensors: Mapping[str, Tensor], options: Collection[str]) -> ModelConfig:
        del options
        if _has(tensors, r"\.body\.\d+\.weight$"):
            raise self.unsupported("its separable convolutions have no normalization in between, as ours have")
        if _has(tensors, r"backbone\.(block1|stage4)\."):
            raise self.unsupported("its Xception and HRNet are not among the backbones here")
        backbone = {"mobilenet_v2": "mobilenet_v2_vainf"}.get(model.backbone, model.backbone)
        convolutions = {"head_convolutions": 1} if self.architecture == _PLUS else {}
        return model.model_copy(update={"backbone": backbone, **convolutions})

    def adopt(self, tensors: Mapping[str, Tensor], model: ModelConfig) -> Mapping[str, Tensor]:
        adopted = dict(super().adopt(tensors, model))
        low_level = adopted.get("classifier.low_level.0.weight")
        if low_level is not None:
            _rotate_inputs(adopted, "classifier.refine.0.0.weight", low_level.shape[0])
        return adopted


class Jfzhang95Layout(PublicLayout):
    """pytorch-deeplab-xception: it interpolates with aligned corners, and its ResNet has a multi-grid."""

    project = "pytorch-deeplab-xception (jfzhang95)"
    markers = ("aspp.aspp1.atrous_conv.weight",)
    rules = _JFZHANG95_RULES

    def configure(self, model: ModelConfig, tensors: Mapping[str, Tensor], options: Collection[str]) -> ModelConfig:
        del options
        if _has(tensors, r"backbone\.(block1|layer0)\."):
            raise self.unsupported("its Xception and DRN are not among the backbones here; its ResNet-101 and MobileNet are")
        changes: dict[str, Any] = {"align_corners": True}
        if model.backbone == "mobilenet_v2":
            changes["backbone"] = "mobilenet_v2_jfzhang95"
        elif model.output_stride == 8:
            raise self.unsupported(
                "at output stride 8 its ResNet dilates the first unit of layer3 too, which no network here does"
            )
        else:
            changes["multi_grid"] = (1, 2, 4)
        return model.model_copy(update=changes)


class MmsegmentationLayout(PublicLayout):
    """mmsegmentation: a 3×3 convolution fuses ASPP and takes the pooled branch first; ResNets have a deep stem."""

    project = "mmsegmentation"
    markers = ("decode_head.image_pool.1.conv.weight",)
    rules = _MMSEGMENTATION_RULES

    def __init__(self, architecture: str) -> None:
        super().__init__(architecture)
        self._deep_stem = False

    def configure(self, model: ModelConfig, tensors: Mapping[str, Tensor], options: Collection[str]) -> ModelConfig:
        if _has(tensors, r"decode_head\.bottleneck\.depthwise_conv\."):
            raise self.unsupported("its bottleneck is separable, ours is not")
        if _has(tensors, r"backbone\.layer\d\.0\.downsample\.2\."):
            raise self.unsupported("its ResNet averages before it strides (ResNetV1d), which no network here does")
        if model.backbone.startswith("mobilenet"):
            raise self.unsupported("its MobileNets are not among the backbones here; its ResNets are")
        if "multi_grid" in options:
            raise self.unsupported("its multi_grid gives dilations; ours multiplies the stage's (2 at output stride 16)")
        self._deep_stem = _has(tensors, r"backbone\.stem\.")
        aspp_channels = _output_channels(tensors, "decode_head.bottleneck.conv.weight")
        changes: dict[str, Any] = {"aspp_fusion": 3, "aspp_channels": aspp_channels}
        if self._deep_stem and not model.backbone.startswith("timm:"):
            changes["backbone"] = f"timm:{model.backbone}c"
        if self.architecture == _PLUS:
            changes["low_level_channels"] = _output_channels(tensors, "decode_head.c1_bottleneck.conv.weight")
            changes["decoder_channels"] = aspp_channels
            changes["separable"] = _has(tensors, r"sep_bottleneck\.0\.depthwise_conv\.")
        else:
            changes["head_convolutions"] = 0
        # The names of its usual configurations end in d8.
        stride: Literal[8, 16] = model.output_stride if "output_stride" in options else 8
        return model.model_copy(update={**changes, "output_stride": stride})

    def rename(self, name: str) -> str:
        renamed = super().rename(name)
        layers = self._deep_stem and renamed.startswith("backbone.layer")
        return renamed.replace("backbone.", "backbone.encoder.", 1) if layers else renamed

    def adopt(self, tensors: Mapping[str, Tensor], model: ModelConfig) -> Mapping[str, Tensor]:
        adopted = dict(super().adopt(tensors, model))
        aspp = "classifier.aspp" if self.architecture == _PLUS else "classifier.0"
        _rotate_inputs(adopted, f"{aspp}.project.0.weight", model.aspp_channels or 0)
        return adopted

    def notes(self, model: ModelConfig) -> tuple[str, ...]:
        return (
            f"{self.project}: its weights do not contain its configuration; assumed: output stride {model.output_stride} "
            "(--output-stride), style='pytorch', contract_dilation=True and align_corners=False, as in its own configurations",
        )


_LAYOUTS: tuple[type[PublicLayout], ...] = (VainfLayout, Jfzhang95Layout, MmsegmentationLayout)


def find_layout(file: WeightsFile, model: ModelConfig) -> Layout:
    """Return the layout that the names in `file` follow.

    Raises:
        ImportFailed: the project does not have the architecture of `model`.
    """
    names = [name for tensor_map in file.maps for name in tensor_map.tensors]
    for layout in _LAYOUTS:
        if any(name.endswith(layout.markers) for name in names):
            if model.architecture not in layout.rules:
                architectures = " or ".join(layout.rules)
                raise ImportFailed(f"{file.path}: holds weights of {layout.project}; --arch should begin with {architectures}")
            return layout(model.architecture)
    return Layout()


def _has(tensors: Mapping[str, Tensor], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in tensors)


def _output_channels(tensors: Mapping[str, Tensor], suffix: str) -> int | None:
    """Return the output channels of the convolution whose name ends with `suffix`, or None if there is none."""
    return next((tensor.shape[0] for name, tensor in tensors.items() if name.endswith(suffix)), None)


def _rotate_inputs(tensors: dict[str, Tensor], name: str, count: int) -> None:
    """Move the first `count` input channels of a convolution to the end."""
    if (weight := tensors.get(name)) is not None:
        tensors[name] = torch.cat([weight[:, count:], weight[:, :count]], dim=1)
