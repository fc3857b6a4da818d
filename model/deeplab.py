"""The DeepLab family: a dilated backbone, a head over its stages, an optional auxiliary head."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from model.backbones import build_backbone
from model.decoder import DeepLabPlusHead
from model.heads import AtrousSumHead, DeepLabHead, FCNHead, LargeFOVHead
from model.strict import ConfigurationError


class DeepLab(nn.Module):
    """What the family shares. Each member says which stages its head reads and which head that is.

    Args:
        backbone: a name in `model.backbones.BACKBONES`, or `timm:NAME`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the last feature map, 8 or 16. Weights fit both.
        atrous_rates: the architecture's own for the output stride where left out.
        multi_grid: see `model.backbones.apply_multi_grid`; for ResNets.
        auxiliary_head: adds an FCN head on the last stage but one, used in training.

    Raises:
        ConfigurationError: for a backbone or an output stride that does not exist, or that do not go together.
    """

    #: The stages that the head reads, in the order of its arguments.
    stages: ClassVar[tuple[str, ...]] = ("out",)
    #: Atrous rates by output stride.
    rates: ClassVar[Mapping[int, tuple[int, ...]]]
    classifier: nn.Module

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        output_stride: int,
        multi_grid: Sequence[int] | None,
        auxiliary_head: bool,
    ) -> None:
        super().__init__()
        if output_stride not in self.rates:
            raise ConfigurationError(f"output stride {output_stride!r}: must be one of {', '.join(map(str, self.rates))}")
        built = build_backbone(backbone, output_stride, (*self.stages, "aux") if auxiliary_head else self.stages, multi_grid)
        self.backbone = built.module
        self.channels = built.channels
        self.aux_classifier = FCNHead(built.channels["aux"], num_classes) if auxiliary_head else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalized images, float B×3×H×W, to logits on the network's grid.

        Returns:
            `out`: float B×num_classes×h×w, where h = ceil(H / stride) and w alike; the stride is the output stride, or 4 where
            there is a decoder. With an auxiliary head also `aux`, whose grid may be another. They are not upsampled: whoever
            needs labels does so once, to the size that is wanted.
        """
        features = self.backbone(images)
        logits = {"out": self.classifier(*(features[stage] for stage in self.stages))}
        if self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(features["aux"])
        return logits

    @property
    def last_features_reader(self) -> nn.Module:
        """The module whose only input are the backbone's last features: from there on, they are turned into classes."""
        return self.classifier

    def drop_auxiliary_head(self) -> None:
        """Forget the auxiliary head, which costs time and serves only training."""
        self.aux_classifier = None


class DeepLabV3(DeepLab):
    """DeepLabV3 (Chen et al. 2017, https://arxiv.org/abs/1706.05587): ASPP with image pooling; rates of section 3.3.

    `separable` makes its 3×3 convolutions depthwise separable, as Chen et al. 2018 did.
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
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__(backbone, num_classes, output_stride, multi_grid, auxiliary_head)
        rates = atrous_rates or self.rates[output_stride]
        self.classifier = DeepLabHead(self.channels["out"], num_classes, rates, separable=separable)


class DeepLabV3Plus(DeepLab):
    """DeepLabV3+ (Chen et al. 2018, https://arxiv.org/abs/1802.02611): DeepLabV3's ASPP and a decoder at stride 4."""

    stages: ClassVar[tuple[str, ...]] = ("out", "low")
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
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__(backbone, num_classes, output_stride, multi_grid, auxiliary_head)
        self.classifier = DeepLabPlusHead(
            self.channels["out"],
            self.channels["low"],
            num_classes,
            atrous_rates or self.rates[output_stride],
            low_level_channels=low_level_channels,
            decoder_channels=decoder_channels,
            separable=separable,
        )

    @property
    def last_features_reader(self) -> nn.Module:
        """Its ASPP: the rest of the head reads low-level features too."""
        return self.classifier.aspp


class DeepLabV2(DeepLab):
    """DeepLabV2 (Chen et al. 2016, https://arxiv.org/abs/1606.00915): ASPP as a sum of atrous classifiers ("ASPP-L")."""

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
        self.classifier = AtrousSumHead(self.channels["out"], num_classes, atrous_rates or self.rates[output_stride])


class DeepLabV1(DeepLab):
    """DeepLab-LargeFOV (Chen et al. 2015, https://arxiv.org/abs/1412.7062), over VGG-16 in the paper."""

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
        rates = atrous_rates or self.rates[output_stride]
        if len(rates) != 1:
            raise ConfigurationError(f"atrous rates {tuple(rates)}: deeplabv1 has one, for example (12,)")
        self.classifier = LargeFOVHead(self.channels["out"], num_classes, rates[0])
