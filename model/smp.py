"""Networks of segmentation_models.pytorch, built by that library behind this project's interface.

They are not mapped onto `model.deeplab`, because that would only approximate them: its encoders dilate a stage's first unit
too, and its decoders upsample with aligned corners.
"""

import importlib
from typing import Any

from pydantic import JsonValue
from torch import Tensor, nn

from model.strict import ConfigurationError


class SmpNetwork(nn.Module):
    """DeepLabV3 or DeepLabV3Plus of segmentation_models.pytorch, giving its own logits at the input's resolution.

    Args:
        architecture: the class's name in that library.
        backbone: an encoder's name in that library, without the pretrained weights it may come with.
        options: further arguments of the class.

    Raises:
        ConfigurationError: the library is not installed, or refuses the arguments.
    """

    def __init__(
        self, architecture: str, backbone: str, num_classes: int, output_stride: int, options: dict[str, JsonValue] | None
    ) -> None:
        super().__init__()
        try:
            importlib.import_module("model.torchvision_ops")  # The library imports torchvision.
            library: Any = importlib.import_module("segmentation_models_pytorch")
        except ImportError as error:
            raise ConfigurationError(
                f"{architecture} over {backbone} needs segmentation_models.pytorch: pip install segmentation-models-pytorch"
            ) from error
        try:
            self.network = getattr(library, architecture)(
                encoder_name=backbone,
                encoder_weights=None,
                encoder_output_stride=output_stride,
                classes=num_classes,
                **(options or {}),
            )
        except (KeyError, TypeError, ValueError, NotImplementedError) as error:
            raise ConfigurationError(
                f"segmentation_models.pytorch refuses {architecture} over {backbone!r}: {error}"
            ) from error

    @property
    def backbone(self) -> nn.Module:
        """Its encoder."""
        encoder: nn.Module = self.network.encoder
        return encoder

    @property
    def last_features_reader(self) -> nn.Module:
        """The module whose only input are the encoder's last features: the decoder's ASPP."""
        aspp: nn.Module = self.network.decoder.aspp
        return aspp

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalized images, float B×3×H×W, to `out`: logits float B×num_classes×H×W.

        Height and width must be multiples of the output stride, which a checkpoint's resize policy takes care of.
        """
        return {"out": self.network(images)}

    def drop_auxiliary_head(self) -> None:
        """It has none."""


class SmpDeepLabV3(SmpNetwork):
    """See `SmpNetwork`."""

    def __init__(
        self,
        backbone: str = "resnet34",
        num_classes: int = 21,
        *,
        output_stride: int = 8,
        library_options: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__("DeepLabV3", backbone, num_classes, output_stride, library_options)


class SmpDeepLabV3Plus(SmpNetwork):
    """See `SmpNetwork`."""

    def __init__(
        self,
        backbone: str = "resnet34",
        num_classes: int = 21,
        *,
        output_stride: int = 16,
        library_options: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__("DeepLabV3Plus", backbone, num_classes, output_stride, library_options)
