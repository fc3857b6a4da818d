"""The models for which torchvision publishes weights."""

from model import ModelConfig

#: Prefix of their names on a command line.
SCHEME = "torchvision:"
#: Torchvision's builders and the networks they build. MobileNetV3 uses the rates of output stride 8 at stride 16, too.
TORCHVISION_MODELS: dict[str, ModelConfig] = {
    "deeplabv3_resnet50": ModelConfig(backbone="resnet50", output_stride=8, auxiliary_head=True),
    "deeplabv3_resnet101": ModelConfig(backbone="resnet101", output_stride=8, auxiliary_head=True),
    "deeplabv3_mobilenet_v3_large": ModelConfig(
        backbone="mobilenet_v3_large", output_stride=16, atrous_rates=(12, 24, 36), auxiliary_head=True
    ),
}
