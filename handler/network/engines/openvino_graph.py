"""A network as OpenVINO's graph: pixels in, logits out, normalization included, any size."""

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

#: Batch, height, width; they are free.
_PIXELS = ov.PartialShape([-1, -1, -1, 3])
#: To trace the network with; what is traced holds for all sizes.
_EXAMPLE_SIZE = (96, 128)


@cache
def core() -> ov.Core:
    """OpenVINO, once for the whole process.

    Its CPU plugin gives the thread that it begins in a stack for signal handlers, and takes it away again from whichever thread
    the last reference is dropped in: in another one, the next signal with a handler would end the process.
    """
    return ov.Core()


def make_graph(files: ModelFiles, precision: Precision) -> ov.Model:
    """The graph that the engine runs for `precision`: the checkpoint's quantized one if it will do, or its network converted.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    own_stride = read_metadata(files.checkpoint).model.output_stride
    if precision in {"auto", "int8"} and files.output_stride in {None, own_stride}:
        quantized = read_quantized_graph(files.checkpoint)
        if quantized is not None:
            return core().read_model(quantized.xml, quantized.weights)
    return convert(files.load())


def convert(checkpoint: Checkpoint) -> ov.Model:
    """The graph of a checkpoint's network: uint8 RGB B×h×w×3 to logits float32 B×classes×h'×w'.

    Equal checkpoints give equal graphs, names included.
    """
    network = _PixelsToLogits(checkpoint)
    example = torch.zeros(1, *_EXAMPLE_SIZE, 3, dtype=torch.uint8)
    with without_telemetry(), warnings.catch_warnings():
        # Deprecated, but what OpenVINO reads best: `torch.export` takes four times as long and warns as much.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        traced = torch.jit.trace(network, example, check_trace=False)
        graph = ov.convert_model(traced, example_input=example, input=[_PIXELS])
    name_nodes(graph)
    return graph


def name_nodes(graph: ov.Model) -> None:
    """Name what is in `graph` by its place: the names that OpenVINO's tools give hold a count over all graphs of a process."""
    graph.set_friendly_name("network")
    for number, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """OpenVINO's tools send usage figures to their makers, unasked, but not from continuous integration."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def write_graph(graph: ov.Model, path: Path) -> None:
    """Write `graph` as `path`, an .xml, and the .bin beside it; its weights as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(graph, path, compress_to_fp16=False)


def is_quantized(graph: ov.Model) -> bool:
    """Whether a graph computes in 8-bit integers."""
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ordered_ops())


class _PixelsToLogits(nn.Module):
    """A checkpoint's network with its normalization, and the one output that serving needs."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.normalize = Normalize(checkpoint.metadata.normalization)
        self.network = checkpoint.network
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalize(pixels))["out"]
        return logits
