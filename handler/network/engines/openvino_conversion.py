"""Convert a network to an OpenVINO graph, by tracing it with PyTorch."""

import warnings

import torch
from torch import Tensor, nn

from handler.network.engines.openvino_graph import name_nodes, without_telemetry
from handler.network.engines.openvino_runtime import ov
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize

#: Any batch, height and width.
_PIXELS = ov.PartialShape([-1, -1, -1, 3])
#: Height and width of the traced example; the trace is valid for all sizes.
_EXAMPLE_SIZE = (96, 128)


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
        from openvino.tools.ovc import convert_model

        graph: ov.Model = convert_model(traced, example_input=example, input=[_PIXELS])
    name_nodes(graph)
    return graph


def example_pixels() -> Tensor:
    """Return an image to trace a network with, uint8 1×h×w×3."""
    return torch.zeros(1, *_EXAMPLE_SIZE, 3, dtype=torch.uint8)


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
