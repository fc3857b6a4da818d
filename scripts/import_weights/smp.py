"""Read DeepLab models of segmentation_models.pytorch: a folder written by `save_pretrained`, or a state dict."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model import ModelConfig, build_model
from model.strict import nearest
from scripts.import_weights.imported_weights import ImportedWeights, ImportFailed
from scripts.import_weights.tensor_files import read_tensors

#: Our architectures by the library's class.
_ARCHITECTURES = {"DeepLabV3": "smp_deeplabv3", "DeepLabV3Plus": "smp_deeplabv3plus"}
#: Weights of `save_pretrained`, in order of preference.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: Keys of config.json with another name here, or none.
_OTHER_KEYS = {
    *("_model_class", "encoder_name", "encoder_output_stride", "classes", "in_channels"),
    *("encoder_weights", "aux_params", "activation"),
}
_NETWORK = "network."
_CLASSIFICATION_HEAD = "classification_head."

#: The library takes only multiples of the output stride, 8 or 16.
DESCRIPTION: dict[str, Any] = {"resize": {"multiple": 16}}
_NORMALIZATION = "it does not tell the normalization: ImageNet's is assumed, unless --mean and --std are given"


def read_pretrained(folder: Path) -> ImportedWeights:
    """Read the model that `save_pretrained` wrote to `folder`; it does not name its classes.

    Raises:
        ImportFailed: the folder or its model is of another kind, or takes other images than RGB.
        ConfigurationError: the network cannot be built.
    """
    config = _read_config(folder)
    if (channels := config.get("in_channels", 3)) != 3:
        raise ImportFailed(f"{folder}: takes images of {channels} channels, should be 3 (RGB)")
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ImportFailed(f"{folder}: has no weights, should hold {' or '.join(_WEIGHTS)}")
    model = ModelConfig.parse(
        {
            "architecture": _ARCHITECTURES[config["_model_class"]],
            "backbone": config["encoder_name"],
            "output_stride": config["encoder_output_stride"],
            "library_options": {name: value for name, value in config.items() if name not in _OTHER_KEYS},
        },
        source=str(folder / "config.json"),
    )
    state, notes = adopt(read_tensors(weights), model)
    if (activation := config.get("activation")) not in (None, "identity"):
        notes = (*notes, f"its activation, {activation}, is left out: a checkpoint gives the logits before it")
    return ImportedWeights(folder.resolve().name, state, model, DESCRIPTION, notes)


def adopt(state: Mapping[str, Tensor], model: ModelConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a state dict of the library by the names in `model`, and notes on what was left out."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFICATION_HEAD)}
    left_out = len(state) - len(kept)
    notes = (f"its classification head is left out ({left_out} tensors)",) if left_out else ()
    with torch.device("meta"):
        library = build_model(model).get_submodule("network")
    bare = {name.removeprefix(_NETWORK): tensor for name, tensor in kept.items()}
    return {_NETWORK + name: tensor for name, tensor in _current_names(library, bare).items()}, (*notes, _NORMALIZATION)


def _current_names(library: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let the library replace its earlier names in `state`."""
    renamed: dict[str, Tensor] = {}
    library.register_load_state_dict_pre_hook(lambda _module, state_dict, *_: renamed.update(state_dict))
    # Only names are needed here; tensors that do not fit are refused when the checkpoint is written.
    with suppress(RuntimeError):
        library.load_state_dict(state, assign=True)
    return renamed


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ImportFailed(f"{folder}: has no config.json, so save_pretrained did not write it") from error
    except ValueError as error:
        raise ImportFailed(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict) or "_model_class" not in config:
        raise ImportFailed(f"{path}: has no _model_class, so segmentation_models.pytorch did not write it")
    if (name := config["_model_class"]) not in _ARCHITECTURES:
        raise ImportFailed(f"{folder}: is a {name}, not a DeepLab{nearest(str(name), _ARCHITECTURES)}")
    if absent := [key for key in ("encoder_name", "encoder_output_stride") if key not in config]:
        raise ImportFailed(f"{path}: lacks {', '.join(absent)}")
    return config
