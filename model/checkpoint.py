"""Checkpoints: one safetensors file with the metadata that makes it usable; nothing is ever unpickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from model.atomic import write_atomically
from model.build import Network, build_model
from model.metadata import CheckpointMetadata
from model.strict import ConfigurationError

_METADATA_KEY = "deeplab"
_KEYS_SHOWN = 8
#: Tensors that hold a quantized graph's files, byte for byte, beside the weights it was made from.
_GRAPH_XML, _GRAPH_WEIGHTS = "openvino.xml", "openvino.bin"


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not fit the network it describes."""


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, in evaluation mode, and the metadata it was stored with."""

    network: Network
    metadata: CheckpointMetadata


@dataclass(frozen=True)
class QuantizedGraph:
    """A network in 8-bit integers, as the two files of OpenVINO's intermediate representation."""

    xml: bytes
    weights: bytes


def save_checkpoint(path: Path, network: nn.Module, metadata: CheckpointMetadata, *, half: bool = False) -> None:
    """Write `network`'s weights and `metadata` to `path`, whole or not at all.

    What `metadata` say of a quantized graph is left out: it was that of other weights, and is not written.

    Args:
        half: store convolution weights as float16. Loading gives float32 again, rounded; normalization layers stay exact.

    Raises:
        CheckpointError: if the weights are not those of the network that `metadata` describes.
    """
    state = network.state_dict()
    with torch.device("meta"):
        _require_matching(state, build_model(metadata.model).state_dict(), "network")
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor).contiguous().cpu()
        for name, tensor in state.items()
    }
    _write(path, tensors, metadata.model_copy(update={"quantization": None}))


def replace_metadata(path: Path, metadata: CheckpointMetadata) -> None:
    """Give the checkpoint at `path` another description of the same network; its weights stay as they are stored.

    Raises:
        CheckpointError: the file cannot be read, or `metadata` describes another network.
    """
    _write(path, _tensors(path, metadata), metadata)


def add_quantized_graph(path: Path, source: Path, graph: QuantizedGraph, metadata: CheckpointMetadata) -> None:
    """Write the checkpoint at `source` to `path` with a quantized graph of its network, and `metadata` that says so.

    Raises:
        CheckpointError: the file cannot be read, or `metadata` describes another network or no quantization.
    """
    if metadata.quantization is None:
        raise CheckpointError(f"{path}: a quantized graph needs metadata with its quantization")
    tensors = _tensors(source, metadata)
    for name, content in ((_GRAPH_XML, graph.xml), (_GRAPH_WEIGHTS, graph.weights)):
        tensors[name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    _write(path, tensors, metadata)


def read_quantized_graph(path: Path) -> QuantizedGraph | None:
    """The quantized graph in the checkpoint at `path`, if it holds one.

    Raises:
        CheckpointError: the file cannot be read.
    """
    with _open(path) as file:
        if _GRAPH_XML not in file.keys():  # noqa: SIM118, not a mapping
            return None
        xml, weights = (file.get_tensor(name).numpy().tobytes() for name in (_GRAPH_XML, _GRAPH_WEIGHTS))
    return QuantizedGraph(xml, weights)


def read_metadata(path: Path, *, output_stride: Literal[8, 16] | None = None) -> CheckpointMetadata:
    """The metadata of the checkpoint at `path`, without its weights; `output_stride` as in `load_checkpoint`.

    Raises:
        CheckpointError: if the file is absent, is not safetensors, or describes no model of this project, or its weights do
            not fit `output_stride`.
    """
    with _open(path) as file:
        return _at_output_stride(path, _parse_metadata(path, file.metadata()), output_stride)


def is_checkpoint(path: Path) -> bool:
    """Whether there is a safetensors file with this project's metadata at `path`, usable or not."""
    try:
        with safe_open(path, framework="pt") as file:
            return _METADATA_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load_checkpoint(path: Path, *, output_stride: Literal[8, 16] | None = None) -> Checkpoint:
    """Build the network that the checkpoint at `path` describes and give it its weights, as float32.

    Args:
        output_stride: another than it was trained at: 8 gives finer logits from weights of 16, at four times the cost of the
            dilated stages (Chen et al. 2017, section 4.1). None: as the checkpoint says.

    Raises:
        CheckpointError: if the file cannot be read, its keys and shapes are not exactly the network's, or its weights do not
            fit `output_stride`.
    """
    with _open(path) as file:
        metadata = _at_output_stride(path, _parse_metadata(path, file.metadata()), output_stride)
        names = set(file.keys()) - {_GRAPH_XML, _GRAPH_WEIGHTS}
        state = {name: file.get_tensor(name) for name in names}
    try:
        # Nothing is initialized only to be overwritten: the tensors read become the parameters.
        with torch.device("meta"):
            network = build_model(metadata.model)
    except ConfigurationError as error:
        raise CheckpointError(f"{path}: {error}") from error
    load_state_dict(network, state, source=str(path))
    if any(buffer.is_meta for buffer in network.buffers()):
        # Constants that are in no state dict (a blur's kernel, say) have been built without values.
        network = build_model(metadata.model)
        load_state_dict(network, state, source=str(path))
    return Checkpoint(network.eval(), metadata)


def load_state_dict(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Make `state` the parameters and buffers of `network`; floating point tensors become float32.

    Raises:
        CheckpointError: naming the keys that are missing or unexpected and the shapes that differ; `source` says of what.
    """
    _require_matching(state, network.state_dict(), source)
    exact = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    network.load_state_dict(exact, assign=True)


def _at_output_stride(path: Path, metadata: CheckpointMetadata, output_stride: Literal[8, 16] | None) -> CheckpointMetadata:
    if output_stride is None:
        return metadata
    try:
        return metadata.model_copy(update={"model": metadata.model.at_output_stride(output_stride)})
    except ConfigurationError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _tensors(path: Path, metadata: CheckpointMetadata) -> dict[str, Tensor]:
    """All tensors of the checkpoint at `path`, which must hold the network that `metadata` describes."""
    with _open(path) as file:
        if _parse_metadata(path, file.metadata()).model != metadata.model:
            raise CheckpointError(f"{path}: holds another network than {metadata.model}")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping


def _write(path: Path, tensors: dict[str, Tensor], metadata: CheckpointMetadata) -> None:
    write_atomically(path, save(tensors, metadata={_METADATA_KEY: metadata.model_dump_json(exclude_none=True)}))


def _require_matching(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    faults = {
        "missing keys": sorted(expected.keys() - state.keys()),
        "unexpected keys": sorted(state.keys() - expected.keys()),
        "wrong shapes": [
            f"{name} is {tuple(state[name].shape)}, should be {tuple(expected[name].shape)}"
            for name in sorted(state.keys() & expected.keys())
            if state[name].shape != expected[name].shape
        ],
    }
    if any(faults.values()):
        raise CheckpointError(f"{source}: " + "; ".join(_summary(fault, names) for fault, names in faults.items() if names))


def _summary(fault: str, names: list[str]) -> str:
    rest = f", and {len(names) - _KEYS_SHOWN} more" if len(names) > _KEYS_SHOWN else ""
    return f"{fault}: {', '.join(names[:_KEYS_SHOWN])}{rest}"


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: not a safetensors file ({error}); `python -m scripts.import_weights` converts a PyTorch state dict"
        ) from error


def _parse_metadata(path: Path, header: Mapping[str, str] | None) -> CheckpointMetadata:
    text = (header or {}).get(_METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{path}: a safetensors file without this project's metadata; `python -m scripts.import_weights` adds it"
        )
    try:
        return CheckpointMetadata.parse(json.loads(text), source=f"{path}: metadata")
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error
