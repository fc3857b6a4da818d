"""Engines run a network. They are interchangeable: one protocol, one file each, and the torch engine defines correct."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from model.checkpoint import Checkpoint
from model.strict import ConfigurationError, nearest


class Engine(Protocol):
    """A network ready to run, normalization included."""

    @property
    def precision(self) -> str:
        """Of its numbers, as torch calls it: `float32`, `bfloat16`."""

    @property
    def max_batch(self) -> int:
        """The most images that one call of `infer` takes."""

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 RGB B×h×w×3 to logits float32 B×classes×h'×w' on the network's grid."""


@dataclass(frozen=True)
class Region:
    """A part of the network's answer: the logits of one class, in some cells of the grid."""

    class_index: int
    #: The cells where the class wins, h'×w' like the logits.
    won: npt.NDArray[np.bool_]

    @property
    def cells(self) -> npt.NDArray[np.bool_]:
        """The cells that are meant: those where the class wins; all, where it wins none."""
        return self.won if self.won.any() else np.ones_like(self.won)


@runtime_checkable
class GradientEngine(Protocol):
    """An engine that can also say which features speak for a part of its answer."""

    def class_activation(
        self, pixels: npt.NDArray[np.uint8], choose: Callable[[npt.NDArray[np.float32]], Region]
    ) -> tuple[Region, npt.NDArray[np.float32]]:
        """Seg-Grad-CAM (Vinogradova et al. 2020) of the backbone's last features for the summed logits of a region.

        Args:
            pixels: one image, uint8 RGB h×w×3.
            choose: given the image's logits, float32 classes×h'×w', says of which region.

        Returns:
            The region chosen; and the features' sum, each weighted by its mean gradient, without its negative part: float32,
            0 or more, on the grid of the features, which may be coarser than that of the logits.
        """


@dataclass(frozen=True)
class EngineOptions:
    """Where and how wide an engine runs."""

    #: Intra-operator threads; 0: as many as there are cores.
    threads: int = 0
    #: The GPU that TorchServe gave this worker; None: the CPU.
    gpu_id: int | None = None


def _torch(checkpoint: Checkpoint, options: EngineOptions) -> Engine:
    from handler.engines.torch_engine import TorchEngine

    return TorchEngine(checkpoint, options)


#: Each imports its runtime only when chosen.
ENGINES: dict[str, Callable[[Checkpoint, EngineOptions], Engine]] = {"torch": _torch}


def build_engine(name: str, checkpoint: Checkpoint, options: EngineOptions) -> Engine:
    """The engine called `name`, with the checkpoint's network in it.

    Raises:
        ConfigurationError: if there is no such engine.
    """
    if name not in ENGINES:
        raise ConfigurationError(f"unknown engine {name!r}{nearest(name, ENGINES)}")
    return ENGINES[name](checkpoint, options)
