"""Print a table of the tested networks with their parameters and operations.

python -m scripts.model_table
"""

import sys
from dataclasses import dataclass

from model import ModelConfig
from scripts.arguments import Parser
from scripts.errors import report_errors

#: Height and width at which operations are counted; smp's networks only take multiples of their output stride.
_SIZE = 513
_SMP_SIZE = 512

#: Combinations that the tests cover. Other combinations of registered names can be built too.
TABLE: tuple[ModelConfig, ...] = (
    ModelConfig(architecture="deeplabv1", backbone="vgg16", output_stride=8),
    ModelConfig(architecture="deeplabv2", backbone="resnet101", output_stride=8),
    ModelConfig(architecture="deeplabv2", backbone="vgg16", output_stride=8),
    ModelConfig(architecture="deeplabv3", backbone="resnet50", output_stride=8),
    ModelConfig(architecture="deeplabv3", backbone="resnet101", output_stride=8),
    ModelConfig(architecture="deeplabv3", backbone="resnet50", output_stride=16, multi_grid=(1, 2, 4)),
    ModelConfig(architecture="deeplabv3", backbone="mobilenet_v3_large", output_stride=16, atrous_rates=(12, 24, 36)),
    ModelConfig(architecture="deeplabv3", backbone="mobilenet_v2", output_stride=16),
    ModelConfig(architecture="deeplabv3", backbone="mobilenet_v2", output_stride=16, separable=True),
    ModelConfig(architecture="deeplabv3", backbone="timm:xception65", output_stride=16),
    ModelConfig(architecture="deeplabv3", backbone="timm:efficientnet_b0", output_stride=16),
    ModelConfig(architecture="deeplabv3", backbone="timm:resnetblur18", output_stride=16),
    ModelConfig(architecture="deeplabv3plus", backbone="resnet50", output_stride=16),
    ModelConfig(architecture="deeplabv3plus", backbone="resnet101", output_stride=16),
    ModelConfig(architecture="deeplabv3plus", backbone="mobilenet_v2", output_stride=16, separable=True),
    ModelConfig(architecture="deeplabv3plus", backbone="mobilenet_v2", output_stride=16, separable=True, decoder_channels=128),
    ModelConfig(architecture="deeplabv3plus", backbone="mobilenet_v3_large", output_stride=16, separable=True),
    ModelConfig(architecture="deeplabv3plus", backbone="timm:xception65", output_stride=16, separable=True),
    ModelConfig(architecture="deeplabv3plus", backbone="timm:resnet34", output_stride=16),
    ModelConfig(architecture="deeplabv3plus", backbone="timm:convnext_tiny", output_stride=16),
    ModelConfig(architecture="smp_deeplabv3", backbone="resnet34", output_stride=8),
    ModelConfig(architecture="smp_deeplabv3plus", backbone="mobilenet_v2", output_stride=16),
)


@dataclass(frozen=True)
class Cost:
    """A network's parameters, and its multiply-adds for one image (half the FLOPs)."""

    parameters: int
    multiply_adds: int


def identifier(config: ModelConfig) -> str:
    """Return `architecture_backbone` and the options that differ from their defaults."""
    options = config.model_dump(exclude_defaults=True, exclude={"architecture", "backbone", "output_stride"})
    extra = [f"{name}={'-'.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in options.items()]
    return " ".join([f"{config.architecture}_{config.backbone}", *extra])


def cost(config: ModelConfig) -> Cost:
    """Count parameters and multiply-adds on the meta device, without computing anything."""
    # Not at the top: the import takes seconds, and wrong options should be reported at once.
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from model import build_on_meta_device

    size = _SMP_SIZE if config.is_smp else _SIZE
    network = build_on_meta_device(config).eval()
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, size, size))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)


@report_errors
def main(argv: list[str] | None = None) -> int:
    Parser("python -m scripts.model_table", __doc__).parse_args(argv)
    print(f"| network | output stride | parameters, millions | multiply-adds at {_SIZE}×{_SIZE}, billions |\n|---|---|---|---|")
    for config in TABLE:
        network, name = cost(config), f"`{identifier(config)}`"
        print(f"| {name} | {config.output_stride} | {network.parameters / 1e6:.1f} | {network.multiply_adds / 1e9:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
