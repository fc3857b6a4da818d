"""Read tensors by name from the files in which PyTorch projects keep them."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scripts.import_weights.imported_weights import ImportFailed


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read the state dict at `path`: safetensors by its suffix, else PyTorch's format, of which only tensors are unpickled.

    Raises:
        ImportFailed: the file is missing or not a state dict.
    """
    if not path.is_file():
        raise ImportFailed(f"{path}: no such file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    # As saved from a network wrapped in DataParallel or DistributedDataParallel.
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ImportFailed(f"{path}: not a safetensors file: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ImportFailed(f"{path}: not a state dict of tensors alone: {str(error).splitlines()[0]}") from error
    # Training scripts, torchvision's among them, keep the state dict beside the optimizer's.
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise ImportFailed(f"{path}: holds {type(content).__name__}, should hold a state dict: tensors by name")
    return content
