"""Networks of segmentation_models.pytorch behind this project's interface.

The library builds them itself. `model.deeplab` could only approximate them, because the library's encoders also dilate a
stage's first unit, and its decoders upsample with aligned corners.
"""

import importlib
from typing import Any

from pydantic import JsonValue
from torch import Tensor, nn

from model.strict import ConfigurationError


class SmpNetwork(nn.Module):
    """Base class: a network of segmentation_models.pytorch with random weights and logits at the input's resolution.

    Raises:
        ConfigurationError: the library is not installed, or rejects the arguments.
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
                f"segmentation_models.pytorch rejects {architecture} over {backbone!r}: {error}"
            ) from error

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        encoder: nn.Module = self.network.encoder
        return encoder

    @property
    def last_features_reader(self) -> nn.Module:
        """The decoder's ASPP, whose only input is the encoder's last feature map."""
        aspp: nn.Module = self.network.decoder.aspp
        return aspp

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map normalized images, float B×3×H×W, to `out`: float logits B×num_classes×H×W.

        Height and width must be multiples of the output stride; the checkpoint's resize policy ensures that.
        """
        return {"out": self.network(images)}

    def drop_auxiliary_head(self) -> None:
        """Do nothing, because these networks have no auxiliary head."""


class SmpDeepLabV3(SmpNetwork):
    """DeepLabV3 of segmentation_models.pytorch.

    Args:
        backbone: name of an encoder in that library.
        num_classes: channels of the logits, background included.
        output_stride: 8 or 16; weights fit only the one they were trained at.
        library_options: further arguments of the library's class.
    """

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
    """DeepLabV3Plus of segmentation_models.pytorch.

    Args:
        backbone: name of an encoder in that library.
        num_classes: channels of the logits, background included.
        output_stride: 8 or 16; weights fit only the one they were trained at.
        library_options: further arguments of the library's class.
    """

    def __init__(
        self,
        backbone: str = "resnet34",
        num_classes: int = 21,
        *,
        output_stride: int = 16,
        library_options: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__("DeepLabV3Plus", backbone, num_classes, output_stride, library_options)
