"""The DeepLab family: networks with a dilated backbone, a head on its stages, and an optional auxiliary head."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from model.backbones import LOW_DEPTHWISE, build_backbone
from model.decoder import DeepLabPlusHead
from model.heads import AtrousSumHead, DeepLabHead, FCNHead, LargeFOVHead
from model.resize import ResizeRule, resize_bilinear, resize_rule
from model.strict import ConfigurationError


class DeepLab(nn.Module):
    """Base class. Subclasses set `rates`, name the stages that their head reads and build `classifier`.

    See the subclasses for the arguments.

    Raises:
        ConfigurationError: the backbone or the output stride does not exist, or the backbone does not support the stride.
    """

    #: Default atrous rates by output stride.
    rates: ClassVar[Mapping[int, tuple[int, ...]]]
    classifier: nn.Module

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        output_stride: int,
        multi_grid: Sequence[int] | None,
        auxiliary_head: bool,
        *,
        stages: tuple[str, ...] = ("out",),
        resize_rule: ResizeRule = "half_pixel",
        trailing_padding: Sequence[int] = (),
    ) -> None:
        super().__init__()
        #: The stages that `classifier` reads, in the order of its arguments.
        self.stages = stages
        self.resize_rule = resize_rule
        if output_stride not in self.rates:
            raise ConfigurationError(f"output stride {output_stride!r}: must be one of {', '.join(map(str, self.rates))}")
        features = (*stages, "aux") if auxiliary_head else stages
        trunk = build_backbone(backbone, output_stride, features, multi_grid, trailing_padding)
        self.backbone = trunk.module
        self.channels = trunk.channels
        self.aux_classifier = FCNHead(self.channels["aux"], num_classes) if auxiliary_head else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalized images, float B×3×H×W, to logits on the network's grid; they are not upsampled.

        Returns:
            `out`: float B×num_classes×h×w, where h = ceil(H / stride) and w = ceil(W / stride); the stride is the output
            stride, or 4 with a decoder. With a resize rule other than half-pixel centres, h = H and w = W, because callers
            resize logits with half-pixel centres. With an auxiliary head also `aux`, on its stage's grid.
        """
        features = self.backbone(images)
        logits = {"out": self.classifier(*(features[stage] for stage in self.stages))}
        if self.resize_rule != "half_pixel":
            logits["out"] = resize_bilinear(logits["out"], images.shape[-2:], self.resize_rule)
        if self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(features["aux"])
        return logits

    @property
    def last_features_reader(self) -> nn.Module:
        """The module whose only input is the backbone's last feature map."""
        return self.classifier

    def drop_auxiliary_head(self) -> None:
        """Remove the auxiliary head, which only training needs."""
        self.aux_classifier = None


class DeepLabV3(DeepLab):
    """DeepLabV3 (Chen et al. 2017, https://arxiv.org/abs/1706.05587): ASPP with image pooling.

    Args:
        backbone: a key of `model.backbones.BACKBONES`, or `timm:NAME`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the last feature map, 8 or 16; weights fit both.
        atrous_rates: default: 12, 24, 36 at output stride 8 and 6, 12, 18 at 16 (section 3.3); empty: no atrous branches.
        multi_grid: factors for the dilations of a ResNet's last stage, see `model.backbones.apply_multi_grid`.
        separable: make the head's 3×3 convolutions depthwise separable (Chen et al. 2018, section 3.2).
        head_convolutions: number of 3×3 convolutions between ASPP and the classifier.
        aspp_channels: channels of ASPP and of these convolutions.
        aspp_fusion: kernel size of the convolution that fuses ASPP's branches.
        align_corners: upsample the logits to the images' size with aligned corners.
        legacy_resize: upsample them as TensorFlow 1 does by default (`model.resize`).
        trailing_padding: strides at which the backbone pads as TensorFlow does, see `model.backbones.use_trailing_padding`.
        auxiliary_head: add an FCN head on the second to last stage, for training.
    """

    rates: ClassVar[Mapping[int, tuple[int, ...]]] = {8: (12, 24, 36), 16: (6, 12, 18)}
    classifier: DeepLabHead

    def __init__(
        self,
        backbone: str = "resnet50",
        num_classes: int = 21,
        *,
        output_stride: int = 8,
        atrous_rates: Sequence[int] | None = None,
        multi_grid: Sequence[int] | None = None,
        separable: bool = False,
        head_convolutions: int = 1,
        aspp_channels: int = 256,
        aspp_fusion: int = 1,
        align_corners: bool = False,
        legacy_resize: bool = False,
        trailing_padding: Sequence[int] = (),
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            num_classes,
            output_stride,
            multi_grid,
            auxiliary_head,
            resize_rule=resize_rule(align_corners=align_corners, legacy_resize=legacy_resize),
            trailing_padding=trailing_padding,
        )
        self.classifier = DeepLabHead(
            self.channels["out"],
            num_classes,
            self.rates[output_stride] if atrous_rates is None else atrous_rates,
            separable=separable,
            convolutions=head_convolutions,
            aspp_channels=aspp_channels,
            aspp_fusion=aspp_fusion,
        )


class DeepLabV3Plus(DeepLab):
    """DeepLabV3+ (Chen et al. 2018, https://arxiv.org/abs/1802.02611): DeepLabV3's ASPP and a decoder at stride 4.

    Args:
        backbone: a key of `model.backbones.BACKBONES`, or `timm:NAME`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the last feature map, 8 or 16; weights fit both.
        atrous_rates: default: the same as in `DeepLabV3`.
        multi_grid: factors for the dilations of a ResNet's last stage, see `model.backbones.apply_multi_grid`.
        separable: make the 3×3 convolutions of ASPP and decoder depthwise separable (section 3.2).
        low_level_channels: channels the decoder reduces the low-level features to.
        decoder_channels: channels of the decoder's 3×3 convolutions.
        head_convolutions: number of these convolutions.
        aspp_channels: channels of ASPP.
        aspp_fusion: kernel size of the convolution that fuses ASPP's branches.
        low_level_tap: read the low-level features after a unit, or after the depthwise convolution within it.
        align_corners: interpolate with aligned corners, and upsample the logits to the images' size.
        legacy_resize: interpolate as TensorFlow 1 does by default (`model.resize`), and upsample the logits too.
        trailing_padding: strides at which the backbone pads as TensorFlow does, see `model.backbones.use_trailing_padding`.
        auxiliary_head: add an FCN head on the second to last stage, for training.
    """

    rates: ClassVar[Mapping[int, tuple[int, ...]]] = DeepLabV3.rates
    classifier: DeepLabPlusHead

    def __init__(
        self,
        backbone: str = "resnet101",
        num_classes: int = 21,
        *,
        output_stride: int = 16,
        atrous_rates: Sequence[int] | None = None,
        multi_grid: Sequence[int] | None = None,
        separable: bool = False,
        low_level_channels: int = 48,
        decoder_channels: int = 256,
        head_convolutions: int = 2,
        aspp_channels: int = 256,
        aspp_fusion: int = 1,
        low_level_tap: Literal["unit", "depthwise"] = "unit",
        align_corners: bool = False,
        legacy_resize: bool = False,
        trailing_padding: Sequence[int] = (),
        auxiliary_head: bool = False,
    ) -> None:
        low = LOW_DEPTHWISE if low_level_tap == "depthwise" else "low"
        super().__init__(
            backbone,
            num_classes,
            output_stride,
            multi_grid,
            auxiliary_head,
            stages=("out", low),
            resize_rule=resize_rule(align_corners=align_corners, legacy_resize=legacy_resize),
            trailing_padding=trailing_padding,
        )
        self.classifier = DeepLabPlusHead(
            self.channels["out"],
            self.channels[low],
            num_classes,
            self.rates[output_stride] if atrous_rates is None else atrous_rates,
            low_level_channels=low_level_channels,
            decoder_channels=decoder_channels,
            separable=separable,
            convolutions=head_convolutions,
            aspp_channels=aspp_channels,
            aspp_fusion=aspp_fusion,
            resize_rule=self.resize_rule,
        )

    @property
    def last_features_reader(self) -> nn.Module:
        """The head's ASPP: the rest of the head reads low-level features too."""
        return self.classifier.aspp


class DeepLabV2(DeepLab):
    """DeepLabV2 (Chen et al. 2016, https://arxiv.org/abs/1606.00915): ASPP as a sum of atrous classifiers ("ASPP-L").

    Args:
        backbone: a key of `model.backbones.BACKBONES`, or `timm:NAME`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the last feature map, 8 or 16; weights fit both.
        atrous_rates: default: 6, 12, 18, 24 at output stride 8, half of that at 16.
        auxiliary_head: add an FCN head on the second to last stage, for training.
    """

    rates: ClassVar[Mapping[int, tuple[int, ...]]] = {8: (6, 12, 18, 24), 16: (3, 6, 9, 12)}

    def __init__(
        self,
        backbone: str = "resnet101",
        num_classes: int = 21,
        *,
        output_stride: int = 8,
        atrous_rates: Sequence[int] | None = None,
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__(backbone, num_classes, output_stride, None, auxiliary_head)
        rates = self.rates[output_stride] if atrous_rates is None else atrous_rates
        if not rates:
            raise ConfigurationError("atrous rates (): deeplabv2 sums one classifier per rate, for example (6, 12, 18, 24)")
        self.classifier = AtrousSumHead(self.channels["out"], num_classes, rates)


class DeepLabV1(DeepLab):
    """DeepLab-LargeFOV (Chen et al. 2015, https://arxiv.org/abs/1412.7062), on VGG-16 in the paper.

    Args:
        backbone: a key of `model.backbones.BACKBONES`, or `timm:NAME`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the last feature map, 8 or 16; weights fit both.
        atrous_rates: exactly one; default: 12 at output stride 8, 6 at 16.
        auxiliary_head: add an FCN head on the second to last stage, for training.
    """

    rates: ClassVar[Mapping[int, tuple[int, ...]]] = {8: (12,), 16: (6,)}

    def __init__(
        self,
        backbone: str = "vgg16",
        num_classes: int = 21,
        *,
        output_stride: int = 8,
        atrous_rates: Sequence[int] | None = None,
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__(backbone, num_classes, output_stride, None, auxiliary_head)
        rates = self.rates[output_stride] if atrous_rates is None else atrous_rates
        if len(rates) != 1:
            raise ConfigurationError(f"atrous rates {tuple(rates)}: deeplabv1 takes exactly one, for example (12,)")
        self.classifier = LargeFOVHead(self.channels["out"], num_classes, rates[0])
