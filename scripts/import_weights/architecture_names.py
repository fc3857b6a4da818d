"""Parse `--arch`: an architecture over a backbone."""

from collections.abc import Mapping
from typing import Any

from model import ARCHITECTURES, ModelConfig
from model.strict import ConfigurationError, name_hint
from scripts.import_weights.torchvision_models import TORCHVISION_MODELS

#: segmentation_models.pytorch's names for shared options.
_SMP_OPTIONS = {
    "atrous_rates": "decoder_atrous_rates",
    "separable": "decoder_aspp_separable",
    "decoder_channels": "decoder_channels",
}


def network_config(arch: str, options: Mapping[str, Any]) -> ModelConfig:
    """Return the network named by `arch` (ARCHITECTURE_BACKBONE), configured as in torchvision if torchvision has it.

    Args:
        options: fields of `ModelConfig`. If the output stride is given, atrous rates default to the paper's.

    Raises:
        ConfigurationError: the architecture is unknown, no backbone is named, or an option has an impossible value. Whether
            the backbone exists and accepts the options is only checked when the network is built.
    """
    architecture, backbone = _split(arch)
    default = ModelConfig(
        architecture=architecture, backbone=backbone, output_stride=ARCHITECTURES[architecture].usual_output_stride
    )
    data = TORCHVISION_MODELS.get(arch, default).model_dump() | {"auxiliary_head": False}
    if "output_stride" in options:
        data["atrous_rates"] = None
    if default.is_smp:
        library_options = {_SMP_OPTIONS[name]: value for name, value in options.items() if name in _SMP_OPTIONS}
        options = {name: value for name, value in options.items() if name not in _SMP_OPTIONS}
        data["library_options"] = library_options or None
    return ModelConfig.parse({**data, **options}, source=f"--arch {arch}")


def _split(arch: str) -> tuple[str, str]:
    for architecture in sorted(ARCHITECTURES, key=len, reverse=True):
        if arch.startswith(f"{architecture}_"):
            return architecture, arch.removeprefix(f"{architecture}_")
    example = "write ARCHITECTURE_BACKBONE, for example deeplabv3plus_timm:xception65"
    if arch in ARCHITECTURES:
        raise ConfigurationError(f"--arch {arch}: names no backbone; {example}")
    words = arch.split("_")
    name = "_".join(words[:2]) if words[0] == "smp" else words[0]
    raise ConfigurationError(f"--arch {arch}: unknown architecture {name!r}{name_hint(name, ARCHITECTURES)}; {example}")
