"""The baseline archive's handler: TorchServe's own, applied to the whole image instead of the central 224 pixels."""

from typing import Any

# Makes torchvision importable with any build of torch.
from model import torchvision_ops  # isort: skip  # noqa: F401

from ts.torch_handler.image_segmenter import ImageSegmenter

from torchvision import transforms


class WholeImageSegmenter(ImageSegmenter):  # type: ignore[misc]
    """Resizes the short side to `short_side` of model-config.yaml; everything else is TorchServe's."""

    def initialize(self, context: Any) -> None:
        super().initialize(context)
        _resize, _crop, *remaining = ImageSegmenter.image_processing.transforms
        self.image_processing = transforms.Compose([transforms.Resize(self.model_yaml_config["short_side"]), *remaining])
