"""A model file for TorchServe's own handler, which must define exactly one class."""

from torchvision.models.segmentation import DeepLabV3, deeplabv3_resnet50


class TorchvisionResNet50(DeepLabV3):  # type: ignore[misc]
    """Torchvision's deeplabv3_resnet50 without the auxiliary head, which only training uses."""

    def __init__(self) -> None:
        network = deeplabv3_resnet50(weights=None, weights_backbone=None)
        super().__init__(network.backbone, network.classifier)
