"""The interface of engines, and the files and options they are built from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from handler.errors import ExplanationUnavailable
from handler.geometry import Size
from handler.masks.label_map import LabelMap, make_label_map
from model.checkpoint_file import read_metadata
from model.metadata import CheckpointMetadata

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint

#: The number format a network computes in, by torch's name; `auto` lets the engine choose.
Precision = Literal["auto", "float32", "bfloat16", "int8"]

Pixels = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """The part of a network's output to explain: one class's logits in some cells of the grid."""

    class_index: int
    #: Where the class wins, bool h'×w' like the logits.
    winning_cells: npt.NDArray[np.bool_]

    @property
    def cells(self) -> npt.NDArray[np.bool_]:
        """The cells whose logits are summed: those the class wins, or all of them if it wins none."""
        return self.winning_cells if self.winning_cells.any() else np.ones_like(self.winning_cells)


class Engine(ABC):
    """A network ready to run, including normalization. Several threads may call one engine."""

    #: Its key in `ENGINES`.
    name: str
    #: What it computes in: `float32`, `bfloat16` or `int8`.
    precision: str
    #: The largest batch that one call of `infer` takes.
    max_batch: int = 1
    #: Whether `class_activation` works.
    has_gradients: bool = False

    @abstractmethod
    def infer(self, pixels: Pixels) -> Logits:
        """Run the network: uint8 RGB B×h×w×3 to float32 logits B×classes×h'×w' on the network's grid."""

    def lanes(self) -> Sequence["Engine"]:
        """Return engines that can run concurrently, each on its share of the processor, or just this engine if unsupported."""
        return (self,)

    def release_memory(self) -> None:  # noqa: B027 (some engines keep nothing)
        """Free the memory kept between images for speed; the next image has to allocate it again."""

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, npt.NDArray[np.float32]]:
        """Compute Seg-Grad-CAM (Vinogradova et al. 2020) on the backbone's last features, for the summed logits of a region.

        Args:
            pixels: one image, uint8 RGB h×w×3.
            choose: selects the region from the image's logits, float32 classes×h'×w'.

        Returns:
            The region, and the sum of the features weighted by their mean gradients, with negative values set to 0: float32 on
            the features' grid, which may be coarser than the logits' grid.

        Raises:
            ExplanationUnavailable: the engine does not compute gradients.
        """
        del pixels, choose
        raise ExplanationUnavailable(
            f"an explanation needs gradients, which this server's engine {self.name!r} does not compute; "
            "the operator can set 'engine: torch' in model-config.yaml"
        )

    def make_label_map(self, scores: Logits, size: Size, dtype: npt.DTypeLike) -> LabelMap:
        """Compute `masks.label_map.make_label_map`, faster if the engine's device allows; only ties may differ."""
        return make_label_map(scores, size, dtype)


@dataclass(frozen=True)
class EngineOptions:
    """Where an engine runs, on how many threads, and in which precision."""

    #: Intra-operator threads; 0 for one per core.
    threads: int = 0
    #: The GPU to run on, or None for the CPU.
    gpu_id: int | None = None
    precision: Precision = "auto"
    #: The most images to run concurrently, for engines that can.
    lanes: int = 1


def has_gpu(options: EngineOptions) -> bool:
    """Whether there is a GPU to run on; a server may assign one although this build of torch lacks CUDA."""
    # The name of a CPU build says so, which spares the seconds of importing it.
    if options.gpu_id is None or version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available()


@dataclass(frozen=True)
class ModelFiles:
    """The files an engine is built from, which are read when needed."""

    checkpoint: Path
    #: Overrides the output stride the checkpoint was trained at.
    output_stride: Literal[8, 16] | None = None
    #: The network as an OpenVINO graph (an .xml with a .bin next to it), including normalization, at this output stride. If
    #: None, it is converted from the checkpoint, which takes seconds.
    graph: Path | None = None

    def metadata(self) -> CheckpointMetadata:
        """Read the checkpoint's metadata.

        Raises:
            CheckpointError: the checkpoint cannot be used.
        """
        return read_metadata(self.checkpoint, output_stride=self.output_stride)

    def load(self) -> "Checkpoint":
        """Load the network, without its auxiliary head.

        Raises:
            CheckpointError: the checkpoint cannot be used.
        """
        from model.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(self.checkpoint, output_stride=self.output_stride)
        checkpoint.network.drop_auxiliary_head()
        return checkpoint
