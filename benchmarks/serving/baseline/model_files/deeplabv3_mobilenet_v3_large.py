"""The model file of TorchServe's own handler, which must define exactly one class."""

from torchvision.models.segmentation import DeepLabV3, deeplabv3_mobilenet_v3_large


class TorchvisionMobileNetV3Large(DeepLabV3):  # type: ignore[misc]
    """Torchvision's deeplabv3_mobilenet_v3_large without its auxiliary head, which serving has no use for."""

    def __init__(self) -> None:
        built = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
        super().__init__(built.backbone, built.classifier)
