"""Read a checkpoint's metadata and quantized graph. Needs no PyTorch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from model.metadata import CheckpointMetadata
from model.strict import ConfigurationError

#: The key of this project's metadata in a file's header.
METADATA_KEY = "deeplab"
#: Names of the uint8 tensors with the files of a quantized graph.
GRAPH_XML, GRAPH_WEIGHTS = "openvino.xml", "openvino.bin"


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not fit the network it describes."""


@dataclass(frozen=True)
class QuantizedGraph:
    """A network in 8-bit integers: the content of the two files of OpenVINO's intermediate representation."""

    xml: bytes
    weights: bytes


def read_quantized_graph(path: Path) -> QuantizedGraph | None:
    """Return the quantized graph in the checkpoint at `path`, or None if it has none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    with open_checkpoint(path) as file:
        if GRAPH_XML not in file.keys():  # noqa: SIM118, not a mapping
            return None
        xml, weights = (file.get_tensor(name).tobytes() for name in (GRAPH_XML, GRAPH_WEIGHTS))
    return QuantizedGraph(xml, weights)


def read_metadata(path: Path, *, output_stride: Literal[8, 16] | None = None) -> CheckpointMetadata:
    """Read the metadata of the checkpoint at `path` without its weights; `output_stride` as in `load_checkpoint`.

    Raises:
        CheckpointError: the file is absent, not safetensors or without this project's metadata, or its weights do not fit
            `output_stride`.
    """
    with open_checkpoint(path) as file:
        return change_output_stride(path, parse_metadata(path, file.metadata()), output_stride)


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a safetensors file with this project's metadata, valid or not."""
    try:
        with safe_open(path, framework="np") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def open_checkpoint(path: Path, framework: Literal["np", "pt"] = "np") -> safe_open:
    """Open the checkpoint at `path`, to read its tensors as NumPy arrays or PyTorch tensors.

    Raises:
        CheckpointError: the file is absent or not safetensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        return safe_open(path, framework=framework)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a safetensors file ({error}); `python -m scripts.import_weights` converts a PyTorch state dict"
        ) from error


def parse_metadata(path: Path, header: Mapping[str, str] | None) -> CheckpointMetadata:
    """Parse the `header` of the checkpoint at `path`.

    Raises:
        CheckpointError: this project's metadata is missing or invalid.
    """
    text = (header or {}).get(METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{path}: safetensors file without this project's metadata; `python -m scripts.import_weights` adds it"
        )
    try:
        return CheckpointMetadata.parse(json.loads(text), source=f"{path}: metadata")
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error


def change_output_stride(path: Path, metadata: CheckpointMetadata, output_stride: Literal[8, 16] | None) -> CheckpointMetadata:
    """Return `metadata` with another output stride, or unchanged if `output_stride` is None.

    Raises:
        CheckpointError: the weights at `path` do not fit the output stride.
    """
    if output_stride is None:
        return metadata
    try:
        return metadata.model_copy(update={"model": metadata.model.with_output_stride(output_stride)})
    except ConfigurationError as error:
        raise CheckpointError(f"{path}: {error}") from error
