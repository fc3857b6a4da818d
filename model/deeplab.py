"""The architectures and their registry."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from model.backbones import find_backbone
from model.config import ATROUS_RATES, ModelConfig
from model.heads import DeepLabHead, FCNHead
from model.strict import ConfigurationError, nearest


class DeepLabV3(nn.Module):
    """DeepLabV3 (Chen et al. 2017, https://arxiv.org/abs/1706.05587).

    Args:
        backbone: a name in `model.backbones.BACKBONES`.
        num_classes: channels of the logits, background included.
        output_stride: image pixels per cell of the feature map, 8 or 16.
        atrous_rates: of ASPP; the paper's for the output stride where left out.
        auxiliary_head: adds an FCN head on an earlier stage, used in training.

    Raises:
        ConfigurationError: for a backbone or an output stride that does not exist.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        num_classes: int = 21,
        *,
        output_stride: Literal[8, 16] = 8,
        atrous_rates: Sequence[int] | None = None,
        auxiliary_head: bool = False,
    ) -> None:
        super().__init__()
        if output_stride not in ATROUS_RATES:
            raise ConfigurationError(f"output stride {output_stride!r}: must be one of {', '.join(map(str, ATROUS_RATES))}")
        trunk = find_backbone(backbone)
        self.backbone = trunk.extractor(output_stride, auxiliary=auxiliary_head)
        self.classifier = DeepLabHead(trunk.out.channels, num_classes, atrous_rates or ATROUS_RATES[output_stride])
        self.aux_classifier = FCNHead(trunk.aux.channels, num_classes) if auxiliary_head else None

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalized images, float B×3×H×W, to logits on the network's grid.

        Returns:
            `out`: float B×num_classes×h×w, h = ceil(H / output stride) and w alike, and with an auxiliary head `aux`, whose
            grid may be finer. They are not upsampled: whoever needs labels does so once, to the size that is wanted.
        """
        features = self.backbone(images)
        logits = {"out": self.classifier(features["out"])}
        if self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(features["aux"])
        return logits

    def drop_auxiliary_head(self) -> None:
        """Forget the auxiliary head, which costs time and serves only training."""
        self.aux_classifier = None


ARCHITECTURES: dict[str, Callable[..., DeepLabV3]] = {"deeplabv3": DeepLabV3}


def build_model(config: ModelConfig) -> DeepLabV3:
    """The network that `config` describes, with random weights.

    Raises:
        ConfigurationError: if the architecture or backbone does not exist; the message names the nearest.
    """
    if config.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"unknown architecture {config.architecture!r}{nearest(config.architecture, ARCHITECTURES)}")
    options = config.model_dump(exclude={"architecture"})
    return ARCHITECTURES[config.architecture](**options)
