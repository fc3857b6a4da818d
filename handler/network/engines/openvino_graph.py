"""Convert a network to an OpenVINO graph: pixels of any size in, logits out, normalization included."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import openvino as ov
import torch
from torch import Tensor, nn

from handler.network.engines.base import ModelFiles, Precision
from model.checkpoint import Checkpoint, read_metadata, read_quantized_graph
from model.preprocessing import Normalize

#: Any batch, height and width.
_PIXELS = ov.PartialShape([-1, -1, -1, 3])
#: Height and width of the traced example; the trace is valid for all sizes.
_EXAMPLE_SIZE = (96, 128)


@cache
def core() -> ov.Core:
    """Return the process's only OpenVINO core, kept until the process ends.

    The CPU plugin installs a signal stack in the thread that creates the core, and removes that of the thread that destroys it.
    If those are two threads, the next handled signal kills the process.
    """
    return ov.Core()


def make_graph(files: ModelFiles, precision: Precision) -> ov.Model:
    """Return the checkpoint's quantized graph if `precision` and the output stride allow it, else convert its network.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not fit its network.
    """
    trained_stride = read_metadata(files.checkpoint).model.output_stride
    if precision in {"auto", "int8"} and files.output_stride in {None, trained_stride}:
        quantized = read_quantized_graph(files.checkpoint)
        if quantized is not None:
            return core().read_model(quantized.xml, quantized.weights)
    return convert(files.load())


def convert(checkpoint: Checkpoint) -> ov.Model:
    """Convert a checkpoint's network to a graph from uint8 RGB B×h×w×3 to float32 logits B×classes×h'×w'.

    The result is deterministic, node names included.
    """
    return convert_module(PixelsToLogits(checkpoint))


def convert_module(module: nn.Module) -> ov.Model:
    """Convert a module that takes uint8 RGB B×h×w×3 to a graph that takes any size; deterministic, node names included."""
    example = example_pixels()
    with without_telemetry(), warnings.catch_warnings():
        # Deprecated, but `torch.export` takes four times as long here and warns too.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        traced = torch.jit.trace(module, example, check_trace=False)
        graph = ov.convert_model(traced, example_input=example, input=[_PIXELS])
    name_nodes(graph)
    return graph


def example_pixels() -> Tensor:
    """Return an image to trace a network with, uint8 1×h×w×3."""
    return torch.zeros(1, *_EXAMPLE_SIZE, 3, dtype=torch.uint8)


def name_nodes(graph: ov.Model) -> None:
    """Name each node by type and position: OpenVINO's tools number nodes across all graphs of the process."""
    graph.set_friendly_name("network")
    for number, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep OpenVINO's tools from sending usage statistics, which they do by default except in continuous integration."""
    previous = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if previous is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = previous


def write_graph(graph: ov.Model, path: Path) -> None:
    """Write `graph` to `path` (.xml) and its weights, uncompressed, to the .bin beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(graph, path, compress_to_fp16=False)


def is_quantized(graph: ov.Model) -> bool:
    """Return whether `graph` computes in 8-bit integers."""
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ordered_ops())


class PixelsToLogits(nn.Module):
    """Normalize pixels, run a checkpoint's network and return the one output that serving needs."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.normalize = Normalize(checkpoint.metadata.normalization)
        self.network = checkpoint.network
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalize(pixels))["out"]
        return logits
