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
    overrides = config.model_dump(exclude={"architecture"}, exclude_defaults=True)
    options = config.model_dump(include={"backbone", "num_classes", "output_stride"}) | overrides
    for name in options.keys() - _supported_options(config.architecture):
        supporting = ", ".join(candidate for candidate in ARCHITECTURES if name in _supported_options(candidate))
        raise ConfigurationError(
            f"architecture {config.architecture!r} does not take {name!r} ({options[name]!r}); these do: {supporting}"
        )
    network: Network = ARCHITECTURES[config.architecture].load()(**options)
    return network


def _supported_options(architecture: str) -> set[str]:
    return set(inspect.signature(ARCHITECTURES[architecture].load()).parameters)
