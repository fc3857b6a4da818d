"""Quantize a network's OpenVINO graph to 8-bit integers after training, with NNCF."""

import contextlib
import gc
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.geometry import RGBImage
from handler.network.engines.openvino_graph import name_nodes, without_telemetry, write_graph
from handler.network.engines.openvino_runtime import ov
from model.checkpoint_file import QuantizedGraph
from model.strict import ConfigurationError

_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
#: The first layers stay in floating point: those with at most this number of output channels and at least this fraction of the
#: input's resolution. Their few channels differ by orders of magnitude, so 8 bits lose the most there and gain little. They are
#: the first three convolutions of MobileNetV2, and none in a ResNet.
_STEM_CHANNELS, _STEM_RESOLUTION = 32, 1 / 2
#: Side of the input used to find these layers; a multiple of every output stride.
_SIDE = 512


@dataclass(frozen=True)
class Pictures:
    """Images on which a network's value ranges are measured; each iteration reads them again."""

    read: Callable[[], Iterator[RGBImage]]
    count: int

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield uint8 arrays 1×h×w×3."""
        return (np.ascontiguousarray(pixels[None]) for pixels in self.read())

    def __len__(self) -> int:
        return self.count


def import_nncf() -> Any:
    """Import NNCF and silence its log.

    Raises:
        ConfigurationError: NNCF is not installed.
    """
    try:
        with without_telemetry():
            import nncf
    except ModuleNotFoundError as error:
        if error.name != "nncf":
            raise
        raise ConfigurationError("NNCF is not installed; pip install '.[quantize]'") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def quantize(graph: ov.Model, pictures: Pictures) -> ov.Model:
    """Return `graph` with the weights and inputs of all convolutions except the first layers in 8-bit integers.

    The result, including names, is deterministic for the same graph and pictures.

    Args:
        graph: from `handler.network.engines.openvino_conversion.convert`.
        pictures: at the network's resolution.

    Raises:
        ConfigurationError: NNCF is not installed.
    """
    nncf = import_nncf()
    # NNCF prints its progress to standard output.
    with without_telemetry(), contextlib.redirect_stdout(io.StringIO()):
        quantized: ov.Model = nncf.quantize(
            graph,
            nncf.Dataset(pictures),
            subset_size=len(pictures),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=stem_convolutions(graph)),
        )
    name_nodes(quantized)
    # NNCF creates OpenVINO engines, which must not be freed in another thread (`openvino_graph.core`).
    gc.collect()
    return quantized


def stem_convolutions(graph: ov.Model) -> list[str]:
    """Return the names of the convolutions that stay in floating point."""
    sized = graph.clone()
    sized.reshape([1, _SIDE, _SIDE, 3])
    outputs = {
        node.get_friendly_name(): tuple(node.get_output_shape(0))
        for node in sized.get_ordered_ops()
        if node.get_type_name() in _CONVOLUTIONS
    }
    return [
        name
        for name, (_, channels, height, _) in outputs.items()
        if channels <= _STEM_CHANNELS and height >= _SIDE * _STEM_RESOLUTION
    ]


def describe_method(graph: ov.Model) -> str:
    """Return a description of how `quantize` treats `graph`."""
    total = sum(node.get_type_name() in _CONVOLUTIONS for node in graph.get_ordered_ops())
    tools = f"NNCF {version('nncf')}, OpenVINO {version('openvino')}"
    quantized = total - len(stem_convolutions(graph))
    return f"post-training quantization ({tools}): {quantized} of {total} convolutions in 8-bit integers"


def serialize(graph: ov.Model, scratch: Path) -> QuantizedGraph:
    """Return `graph` in the form that checkpoints store, using the .xml file `scratch`."""
    write_graph(graph, scratch)
    return QuantizedGraph(scratch.read_bytes(), scratch.with_suffix(".bin").read_bytes())
