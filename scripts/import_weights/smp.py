"""Read segmentation_models.pytorch's DeepLab models from a folder written by `save_pretrained`."""

import json
from pathlib import Path
from typing import Any

from model import ModelConfig
from model.strict import name_hint
from scripts.import_weights.imported_weights import ImportedWeights, ImportFailed
from scripts.import_weights.smp_layout import DESCRIPTION, SmpLayout
from scripts.import_weights.state_dict import find_state
from scripts.weight_files.tensor_maps import read_weights

#: Our architecture names, by the library's class names.
_ARCHITECTURES = {"DeepLabV3": "smp_deeplabv3", "DeepLabV3Plus": "smp_deeplabv3plus"}
#: Weights files of `save_pretrained`, in order of preference.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: Keys of config.json that have a different name here, or no counterpart.
_OTHER_KEYS = {
    *("_model_class", "encoder_name", "encoder_output_stride", "classes", "in_channels"),
    *("encoder_weights", "aux_params", "activation"),
}


def read_pretrained(folder: Path) -> ImportedWeights:
    """Read the model that `save_pretrained` wrote to `folder`, which does not record class names.

    Raises:
        ImportFailed: the folder or its model is of another kind, or the model does not take RGB images.
        WeightsFileError: the weights cannot be read.
        ConfigurationError: the network cannot be built.
    """
    config = _read_config(folder)
    if (channels := config.get("in_channels", 3)) != 3:
        raise ImportFailed(f"{folder}: takes images with {channels} channels, should be 3 (RGB)")
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
    state = find_state(read_weights(weights), model, SmpLayout())
    notes = state.notes
    if (activation := config.get("activation")) not in (None, "identity"):
        notes = (*notes, f"its activation, {activation}, is left out: a checkpoint gives the logits before it")
    return ImportedWeights(folder.resolve().name, state.tensors, state.model, DESCRIPTION, notes)


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
        raise ImportFailed(f"{folder}: is a {name}, not a DeepLab{name_hint(str(name), _ARCHITECTURES)}")
    if absent := [key for key in ("encoder_name", "encoder_output_stride") if key not in config]:
        raise ImportFailed(f"{path}: lacks {', '.join(absent)}")
    return config
