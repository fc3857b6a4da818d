"""Build the network that a configuration describes."""

import inspect

from model.architectures import ARCHITECTURES
from model.config import ModelConfig
from model.deeplab import DeepLab
from model.smp import SmpNetwork
from model.strict import ConfigurationError, nearest

#: Every network maps images to `{"out": logits}` and has `backbone`, `last_features_reader` and `drop_auxiliary_head`.
Network = DeepLab | SmpNetwork


def build_model(config: ModelConfig) -> Network:
    """Build the network that `config` describes, with random weights.

    Raises:
        ConfigurationError: the architecture or backbone does not exist or does not support an option; the message suggests
            others.
    """
    if config.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"unknown architecture {config.architecture!r}{nearest(config.architecture, ARCHITECTURES)}")
    changed = config.model_dump(exclude={"architecture"}, exclude_defaults=True)
    options = {"backbone": config.backbone, "num_classes": config.num_classes, "output_stride": config.output_stride, **changed}
    for name in options.keys() - _options(config.architecture):
        supporting = ", ".join(other for other in ARCHITECTURES if name in _options(other))
        raise ConfigurationError(
            f"architecture {config.architecture!r} does not take {name!r} ({options[name]!r}); these do: {supporting}"
        )
    network: Network = ARCHITECTURES[config.architecture].load()(**options)
    return network


def _options(architecture: str) -> set[str]:
    return set(inspect.signature(ARCHITECTURES[architecture].load()).parameters)
