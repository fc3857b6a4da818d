"""The registry of architectures, and the way from a configuration to a network."""

import inspect
from collections.abc import Callable

from model.config import ModelConfig
from model.deeplab import DeepLab, DeepLabV1, DeepLabV2, DeepLabV3, DeepLabV3Plus
from model.smp import SmpDeepLabV3, SmpDeepLabV3Plus, SmpNetwork
from model.strict import ConfigurationError, nearest

#: What every architecture is: from images to `{"out": logits}`, with a `backbone` and an auxiliary head that can be dropped.
Network = DeepLab | SmpNetwork

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    "deeplabv1": DeepLabV1,
    "deeplabv2": DeepLabV2,
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
    "smp_deeplabv3": SmpDeepLabV3,
    "smp_deeplabv3plus": SmpDeepLabV3Plus,
}


def build_model(config: ModelConfig) -> Network:
    """The network that `config` describes, with random weights.

    Raises:
        ConfigurationError: the architecture or backbone does not exist, or they and the options do not go together; the message
            says what would.
    """
    if config.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"unknown architecture {config.architecture!r}{nearest(config.architecture, ARCHITECTURES)}")
    given = config.model_dump(exclude={"architecture"}, exclude_defaults=True)
    options = {"backbone": config.backbone, "num_classes": config.num_classes, "output_stride": config.output_stride, **given}
    for name in options.keys() - _options(config.architecture):
        takers = ", ".join(other for other in ARCHITECTURES if name in _options(other))
        raise ConfigurationError(
            f"architecture {config.architecture!r} has no {name!r} ({options[name]!r}); these have: {takers}"
        )
    return ARCHITECTURES[config.architecture](**options)


def _options(architecture: str) -> set[str]:
    return set(inspect.signature(ARCHITECTURES[architecture]).parameters)
