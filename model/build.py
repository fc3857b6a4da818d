"""Build the network that a configuration describes."""

import inspect
from collections.abc import Mapping
from functools import lru_cache

from torch import Tensor

from model.architectures import ARCHITECTURES
from model.config import ModelConfig
from model.deeplab import DeepLab
from model.meta_device import on_meta_device
from model.smp import SmpNetwork
from model.strict import ConfigurationError, name_hint

#: Every network maps images to `{"out": logits}` and has `backbone`, `last_features_reader` and `drop_auxiliary_head`.
Network = DeepLab | SmpNetwork


def build_model(config: ModelConfig) -> Network:
    """Build the network that `config` describes, with random weights.

    Raises:
        ConfigurationError: the architecture or backbone does not exist or does not support an option; the message suggests
            others.
    """
    if config.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"unknown architecture {config.architecture!r}{name_hint(config.architecture, ARCHITECTURES)}")
    overrides = config.model_dump(exclude={"architecture"}, exclude_defaults=True)
    options = config.model_dump(include={"backbone", "num_classes", "output_stride"}) | overrides
    for name in options.keys() - _supported_options(config.architecture):
        supporting = ", ".join(candidate for candidate in ARCHITECTURES if name in _supported_options(candidate))
        raise ConfigurationError(
            f"architecture {config.architecture!r} does not take {name!r} ({options[name]!r}); these do: {supporting}"
        )
    network: Network = ARCHITECTURES[config.architecture].load()(**options)
    return network


def build_on_meta_device(config: ModelConfig) -> Network:
    """Build the network that `config` describes on the meta device, for weights to be loaded or shapes to be read.

    Raises:
        ConfigurationError: as for `build_model`.
    """
    with on_meta_device():
        return build_model(config)


def state_shapes(config: ModelConfig) -> Mapping[str, Tensor]:
    """Return the state dict of the network that `config` describes, on the meta device; callers must not change it.

    Raises:
        ConfigurationError: as for `build_model`.
    """
    return _state_shapes(config.model_dump_json())


# Loading, converting and saving a network's weights each compare them with its shapes.
@lru_cache(maxsize=8)
def _state_shapes(config: str) -> Mapping[str, Tensor]:
    state: Mapping[str, Tensor] = build_on_meta_device(ModelConfig.model_validate_json(config)).state_dict()
    return state


def _supported_options(architecture: str) -> set[str]:
    return set(inspect.signature(ARCHITECTURES[architecture].load()).parameters)
