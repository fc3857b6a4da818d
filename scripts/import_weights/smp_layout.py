"""Tensor names of segmentation_models.pytorch."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from model import ModelConfig, build_on_meta_device, state_shapes
from scripts.import_weights.layouts import Layout

#: The library accepts only multiples of the output stride, 8 or 16.
DESCRIPTION: dict[str, Any] = {"resize": {"multiple": 16}}
_NORMALIZATION = "it does not record the normalization: ImageNet's is assumed, unless --mean and --std are given"


class SmpLayout(Layout):
    """The layout of segmentation_models.pytorch, including names from its earlier versions."""

    prefix = "network."

    def expected_tensors(self, model: ModelConfig) -> Mapping[str, Tensor]:
        return {name.removeprefix(self.prefix): tensor for name, tensor in state_shapes(model).items()}

    def adopt(self, tensors: Mapping[str, Tensor], model: ModelConfig) -> Mapping[str, Tensor]:
        """Let the library convert the names of its earlier versions."""
        library = _library_network(model)
        renamed: dict[str, Tensor] = {}
        library.register_load_state_dict_pre_hook(lambda _module, state_dict, *_: renamed.update(state_dict))
        # Only the names matter here; tensors of the wrong shape are refused when the checkpoint is written.
        with suppress(RuntimeError):
            library.load_state_dict(dict(tensors), assign=True)
        return renamed

    def notes(self, model: ModelConfig) -> tuple[str, ...]:
        del model
        return (_NORMALIZATION,)


def _library_network(model: ModelConfig) -> nn.Module:
    return build_on_meta_device(model).get_submodule("network")
