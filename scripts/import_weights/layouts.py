"""The names that a project gives to a DeepLab's tensors, and what its network computes differently."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from model import ModelConfig, build_model


class Layout:
    """Names as in this project's networks, which for DeepLabV3 are torchvision's. Base class of other projects' layouts."""

    #: The project, for messages; empty for this one.
    project = ""
    #: Prefix of the network's tensors in the checkpoint.
    prefix = ""

    def configure(self, model: ModelConfig, tensors: Mapping[str, Tensor], options: Collection[str]) -> ModelConfig:
        """Return the network that computes what the project's does, from `model`, which the command line names.

        Args:
            tensors: all tensors in the file, by the project's names with any prefix.
            options: fields of `model` that the command line sets.

        Raises:
            ImportFailed: no network here can.
        """
        del tensors, options
        return model

    def expected(self, model: ModelConfig) -> Mapping[str, Tensor]:
        """Return the state dict of `model` without `prefix`, on the meta device."""
        with torch.device("meta"):
            state: Mapping[str, Tensor] = build_model(model).state_dict()
        return state

    def rename(self, name: str) -> str:
        """Return the name in the network of what the project calls `name`."""
        return name

    def adopt(self, tensors: Mapping[str, Tensor], model: ModelConfig) -> Mapping[str, Tensor]:
        """Return the project's tensors by their names in the network."""
        del model
        return {self.rename(name): tensor for name, tensor in tensors.items()}

    def notes(self, model: ModelConfig) -> tuple[str, ...]:
        """Return sentences on what the user should know of networks in this layout."""
        del model
        return ()
