"""Make, name and write OpenVINO graphs of networks: pixels of any size in, logits out, including normalization."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from handler.network.engines.base import ModelFiles, Precision
from handler.network.engines.openvino_runtime import ov
from model.checkpoint_file import read_metadata, read_quantized_graph


@cache
def core() -> ov.Core:
    """Return the process's only OpenVINO core, which lives until the process ends.

    The CPU plugin installs a signal stack in the thread that creates the core, and removes the signal stack of the thread that
    destroys it. If these are two threads, the next handled signal kills the process.
    """
    return ov.Core()


def make_graph(files: ModelFiles, precision: Precision) -> ov.Model:
    """Return the checkpoint's quantized graph if `precision` and the output stride allow it, or else convert its network.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not fit its network.
    """
    trained_stride = read_metadata(files.checkpoint).model.output_stride
    if precision in {"auto", "int8"} and files.output_stride in {None, trained_stride}:
        quantized = read_quantized_graph(files.checkpoint)
        if quantized is not None:
            return core().read_model(quantized.xml, quantized.weights)
    from handler.network.engines.openvino_conversion import convert

    return convert(files.load())


def name_nodes(graph: ov.Model) -> None:
    """Name each node by type and position, because OpenVINO's tools number nodes across all graphs of the process."""
    graph.set_friendly_name("network")
    for number, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep OpenVINO's tools from sending usage statistics, which they do by default outside continuous integration."""
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
    """Write `graph` to `path` (.xml) and its weights, uncompressed, to the .bin next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(graph, path, compress_to_fp16=False)


def is_quantized(graph: ov.Model) -> bool:
    """Whether `graph` computes in 8-bit integers."""
    return any(node.get_type_name() == "FakeQuantize" for node in graph.get_ordered_ops())
