"""Load and save checkpoints: safetensors files with a network's weights and their metadata. Nothing is unpickled."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from model.atomic import write_atomically
from model.build import Network, build_model, build_on_meta_device, state_shapes
from model.checkpoint_file import (
    GRAPH_WEIGHTS,
    GRAPH_XML,
    METADATA_KEY,
    CheckpointError,
    QuantizedGraph,
    change_output_stride,
    open_checkpoint,
    parse_metadata,
)
from model.metadata import CheckpointMetadata
from model.strict import ConfigurationError

_MAX_LISTED_KEYS = 8


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, in evaluation mode, and the metadata it was stored with."""

    network: Network
    metadata: CheckpointMetadata


def save_checkpoint(path: Path, network: nn.Module, metadata: CheckpointMetadata, *, half: bool = False) -> None:
    """Write the weights of `network` and `metadata` to `path`, atomically.

    `metadata.quantization` is dropped, because it describes a graph with other weights, which is not written.

    Args:
        half: store convolution weights, rounded, as float16; loading converts them back. Normalization layers stay exact.

    Raises:
        CheckpointError: the weights do not fit the network that `metadata` describes.
    """
    state = network.state_dict()
    _require_matching(state, state_shapes(metadata.model), "network")
    tensors = {name: (_halve(tensor) if half else tensor).contiguous().cpu() for name, tensor in state.items()}
    _write(path, tensors, metadata.model_copy(update={"quantization": None}))


def save_state(path: Path, state: Mapping[str, Tensor], metadata: CheckpointMetadata, *, source: str) -> None:
    """Write `state`, as float32, and `metadata` to `path`, atomically, without building the network.

    `metadata.quantization` is dropped, as in `save_checkpoint`.

    Args:
        source: where `state` comes from, for error messages.

    Raises:
        CheckpointError: as for `load_state_dict`.
    """
    _require_matching(state, state_shapes(metadata.model), source)
    _require_finite(state, source)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in _to_float32(state).items()}
    _write(path, tensors, metadata.model_copy(update={"quantization": None}))


def _halve(tensor: Tensor) -> Tensor:
    """Return a convolution's weights as float16 if they are in its range; return any other tensor unchanged."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    halved = tensor.half()
    return halved if halved.isfinite().all() else tensor


def replace_metadata(path: Path, metadata: CheckpointMetadata) -> None:
    """Replace the metadata of the checkpoint at `path`; the stored weights stay the same.

    Raises:
        CheckpointError: the file cannot be read, or `metadata` describes a different network.
    """
    _write(path, _read_tensors(path, metadata), metadata)


def add_quantized_graph(path: Path, source: Path, graph: QuantizedGraph, metadata: CheckpointMetadata) -> None:
    """Copy the checkpoint at `source` to `path`, with `metadata` and a quantized graph of its network.

    Raises:
        CheckpointError: the file cannot be read, or `metadata` describes a different network or lacks `quantization`.
    """
    if metadata.quantization is None:
        raise CheckpointError(f"{path}: the metadata of a quantized graph must have `quantization`")
    tensors = _read_tensors(source, metadata)
    for name, content in ((GRAPH_XML, graph.xml), (GRAPH_WEIGHTS, graph.weights)):
        tensors[name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    _write(path, tensors, metadata)


def load_checkpoint(path: Path, *, output_stride: Literal[8, 16] | None = None) -> Checkpoint:
    """Build the network that the checkpoint at `path` describes and load its weights, as float32.

    Args:
        output_stride: 8 gives finer logits from weights trained at 16, at four times the cost in the dilated stages (Chen et
            al. 2017, section 4.1); None for the checkpoint's output stride.

    Raises:
        CheckpointError: the file cannot be read, its keys and shapes do not match the network, or its weights do not fit
            `output_stride`.
    """
    with open_checkpoint(path, "pt") as file:
        metadata = change_output_stride(path, parse_metadata(path, file.metadata()), output_stride)
        names = set(file.keys()) - {GRAPH_XML, GRAPH_WEIGHTS}
        state = {name: file.get_tensor(name) for name in names}
    try:
        # The loaded tensors become the parameters.
        network = build_on_meta_device(metadata.model)
    except ConfigurationError as error:
        raise CheckpointError(f"{path}: {error}") from error
    load_state_dict(network, state, source=str(path))
    if any(buffer.is_meta for buffer in network.buffers()):
        # Buffers outside the state dict, such as a blur's kernel, have no values on the meta device.
        network = build_model(metadata.model)
        load_state_dict(network, state, source=str(path))
    return Checkpoint(network.eval(), metadata)


def load_state_dict(network: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load `state` into `network` without copying; floating-point tensors become float32.

    Args:
        source: where `state` comes from, for error messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ, or values are not finite; the message lists them.
    """
    _require_matching(state, network.state_dict(), source)
    _require_finite(state, source)
    network.load_state_dict(_to_float32(state), assign=True)


def _to_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _read_tensors(path: Path, metadata: CheckpointMetadata) -> dict[str, Tensor]:
    """Read all tensors of the checkpoint at `path`, whose network must be the one in `metadata`."""
    with open_checkpoint(path, "pt") as file:
        if parse_metadata(path, file.metadata()).model != metadata.model:
            raise CheckpointError(f"{path}: holds a different network than {metadata.model}")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping


def _write(path: Path, tensors: dict[str, Tensor], metadata: CheckpointMetadata) -> None:
    write_atomically(path, save(tensors, metadata={METADATA_KEY: metadata.model_dump_json(exclude_none=True)}))


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
        raise CheckpointError(f"{source}: " + "; ".join(_summarize(fault, names) for fault, names in faults.items() if names))


def _require_finite(state: Mapping[str, Tensor], source: str) -> None:
    counts = {
        name: tensor.numel() - int(tensor.isfinite().sum())
        for name, tensor in state.items()
        if tensor.is_floating_point() and not tensor.is_meta
    }
    if faults := [f"{name} ({count} of {state[name].numel()})" for name, count in sorted(counts.items()) if count]:
        raise CheckpointError(f"{source}: " + _summarize("weights that are NaN or infinite", faults))


def _summarize(fault: str, names: list[str]) -> str:
    omitted = f", and {len(names) - _MAX_LISTED_KEYS} more" if len(names) > _MAX_LISTED_KEYS else ""
    return f"{fault}: {', '.join(names[:_MAX_LISTED_KEYS])}{omitted}"
