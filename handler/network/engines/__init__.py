"""Engines run a network. They are interchangeable: one protocol, one file each, and torch in float32 defines correct."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from handler.geometry import Size
from model.checkpoint import Checkpoint, load_checkpoint, read_metadata
from model.metadata import CheckpointMetadata
from model.strict import ConfigurationError, nearest

#: What a network is asked to compute with, as torch calls it; `auto` leaves it to the engine.
Precision = Literal["auto", "float32", "bfloat16", "int8"]


class Engine(Protocol):
    """A network ready to run, normalization included."""

    @property
    def name(self) -> str:
        """In `ENGINES`."""

    @property
    def precision(self) -> str:
        """What it computes with: `float32`, `bfloat16` or `int8`."""

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


@runtime_checkable
class LanedEngine(Protocol):
    """An engine that can work on several images side by side: each is slower, but together they are done sooner."""

    def lanes(self) -> Sequence[Engine]:
        """Engines that run at the same time, each in a thread of its caller's and on its share of the processor."""


@runtime_checkable
class LabellingEngine(Protocol):
    """An engine on a device that brings logits to an image's size faster than the CPU does."""

    def make_label_map(
        self, scores: npt.NDArray[np.float32], size: Size, dtype: npt.DTypeLike
    ) -> npt.NDArray[np.unsignedinteger]:
        """As `handler.masks.label_map.make_label_map`, to which it is equal but for ties."""


@dataclass(frozen=True)
class EngineOptions:
    """Where, how wide and how exactly an engine runs."""

    #: Intra-operator threads; 0: as many as there are cores.
    threads: int = 0
    #: The GPU that TorchServe gave this worker; None: the CPU.
    gpu_id: int | None = None
    precision: Precision = "auto"
    #: Images that are worked on side by side where there are as many, by an engine that can.
    lanes: int = 1


@dataclass(frozen=True)
class ModelFiles:
    """What an engine is made from; read when it is needed."""

    checkpoint: Path
    #: Another than the checkpoint was trained at.
    output_stride: Literal[8, 16] | None = None
    #: The network as OpenVINO's graph (an .xml beside its .bin), normalization included, at this output stride. None: it is
    #: converted from the checkpoint, which takes seconds.
    graph: Path | None = None

    def metadata(self) -> CheckpointMetadata:
        """
        Raises:
            CheckpointError: the checkpoint cannot be used.
        """
        return read_metadata(self.checkpoint, output_stride=self.output_stride)

    def load(self) -> Checkpoint:
        """The network, without an auxiliary head.

        Raises:
            CheckpointError: the checkpoint cannot be used.
        """
        loaded = load_checkpoint(self.checkpoint, output_stride=self.output_stride)
        loaded.network.drop_auxiliary_head()
        return loaded


def _openvino(files: ModelFiles, options: EngineOptions) -> Engine:
    try:
        from handler.network.engines.openvino_engine import OpenVinoEngine
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"engine 'openvino' needs what is not installed here ({error}); pip install openvino, or choose 'torch'"
        ) from error
    return OpenVinoEngine(files, options)


def _torch(files: ModelFiles, options: EngineOptions) -> Engine:
    if not has_gpu(options):
        return reference_engine(files, options)
    from handler.network.engines.torch_gpu_engine import on_gpu

    return on_gpu(files.load(), options)


#: Each imports its runtime only when chosen.
ENGINES: dict[str, Callable[[ModelFiles, EngineOptions], Engine]] = {"openvino": _openvino, "torch": _torch}
AUTO = "auto"


def build_engine(name: str, files: ModelFiles, options: EngineOptions) -> Engine:
    """The engine called `name`, with the network of `files` in it; `auto`: torch on a GPU, openvino on a CPU.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: there is no such engine, or it has no such precision.
    """
    return ENGINES[chosen_engine(name, options)](files, options)


def chosen_engine(name: str, options: EngineOptions) -> str:
    """The engine that `name` means; it may be `auto`.

    Raises:
        ConfigurationError: there is no such engine.
    """
    if name == AUTO:
        return "torch" if has_gpu(options) else "openvino"
    return known_engine(name)


def reference_engine(files: ModelFiles, options: EngineOptions) -> Engine:
    """Torch in float32, step by step: on a CPU it defines correct, and it is a `GradientEngine` on a GPU too.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigurationError: for another precision.
    """
    from handler.network.engines.torch_engine import TorchEngine

    return TorchEngine(files.load(), options)


def known_engine(name: str) -> str:
    """`name`, if there is such an engine or it is `auto`.

    Raises:
        ConfigurationError: otherwise.
    """
    if name not in {AUTO, *ENGINES}:
        raise ConfigurationError(f"unknown engine {name!r}{nearest(name, [AUTO, *ENGINES])}")
    return name


def has_gpu(options: EngineOptions) -> bool:
    """Whether there is a GPU to run on: TorchServe counts the machine's, but this build of torch may be without CUDA."""
    import torch

    return options.gpu_id is not None and torch.cuda.is_available()
