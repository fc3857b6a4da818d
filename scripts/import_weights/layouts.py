"""How a project names a DeepLab's tensors, and what its network computes differently."""

from collections.abc import Collection, Mapping

from torch import Tensor

from model import ModelConfig, state_shapes


class Layout:
    """Base class of layouts, with this project's own tensor names, which for DeepLabV3 are torchvision's."""

    #: The project's name, for messages; empty for this project.
    project = ""
    #: Prefix of the network's tensor names in the checkpoint.
    prefix = ""

    def configure(self, model: ModelConfig, tensors: Mapping[str, Tensor], options: Collection[str]) -> ModelConfig:
        """Return `model`, as named on the command line, adjusted to compute what the project's network does.

        Args:
            tensors: all tensors in the file, by the project's names, with any prefix.
            options: fields of `model` that were set on the command line.

        Raises:
            ImportFailed: no network of this project can do so.
        """
        del tensors, options
        return model

    def expected_tensors(self, model: ModelConfig) -> Mapping[str, Tensor]:
        """Return the state dict of `model` without `prefix`, on the meta device."""
        return state_shapes(model)

    def rename(self, name: str) -> str:
        """Return the network's name for the tensor that the project calls `name`."""
        return name

    def adopt(self, tensors: Mapping[str, Tensor], model: ModelConfig) -> Mapping[str, Tensor]:
        """Return the project's tensors by their names in the network."""
        del model
        return {self.rename(name): tensor for name, tensor in tensors.items()}

    def notes(self, model: ModelConfig) -> tuple[str, ...]:
        """Return what the user should know about networks in this layout, as sentences."""
        del model
        return ()
