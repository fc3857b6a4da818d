"""DeepLab models of segmentation_models.pytorch: a folder that `save_pretrained` wrote, or a state dict of one."""

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

#: The library's classes, and what they are called here.
_ARCHITECTURES = {"DeepLabV3": "smp_deeplabv3", "DeepLabV3Plus": "smp_deeplabv3plus"}
#: Where `save_pretrained` puts weights, in the order of preference.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: What has another name here, or is left out.
_NO_OPTIONS = {
    *("_model_class", "encoder_name", "encoder_output_stride", "classes", "in_channels"),
    *("encoder_weights", "aux_params", "activation"),
}
_NETWORK = "network."
_CLASSIFICATION_HEAD = "classification_head."

#: For either output stride, whose multiples alone the library takes.
DESCRIPTION: dict[str, Any] = {"resize": {"multiple": 16}}
_NORMALIZATION = "it does not say how images are normalized: as ImageNet's are, unless --mean and --std are given"


def read_pretrained(folder: Path) -> ImportedWeights:
    """The model that `save_pretrained` wrote to `folder`: everything but the names of its classes.

    Raises:
        ImportFailed: it is another kind of folder or of model, or takes other images than RGB.
        ConfigurationError: a network that cannot be built.
    """
    config = _read_config(folder)
    if (channels := config.get("in_channels", 3)) != 3:
        raise ImportFailed(f"{folder}: takes images of {channels} channels; only those of 3, RGB, can be served")
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ImportFailed(f"{folder}: has no weights; there should be {' or '.join(_WEIGHTS)}")
    model = ModelConfig.parse(
        {
            "architecture": _ARCHITECTURES[config["_model_class"]],
            "backbone": config["encoder_name"],
            "output_stride": config["encoder_output_stride"],
            "library_options": {name: value for name, value in config.items() if name not in _NO_OPTIONS},
        },
        source=str(folder / "config.json"),
    )
    state, notes = adopt(read_tensors(weights), model)
    if (activation := config.get("activation")) not in (None, "identity"):
        notes = (*notes, f"its activation, {activation}, is left out: a checkpoint gives the logits before it")
    return ImportedWeights(folder.resolve().name, state, model, DESCRIPTION, notes)


def adopt(state: Mapping[str, Tensor], model: ModelConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A state dict of the library's, by the names that it has in `model`, and what was left out of it."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFICATION_HEAD)}
    left_out = len(state) - len(kept)
    notes = (f"its classification head is left out ({left_out} tensors)",) if left_out else ()
    with torch.device("meta"):
        library = build_model(model).get_submodule("network")
    bare = {name.removeprefix(_NETWORK): tensor for name, tensor in kept.items()}
    return {_NETWORK + name: tensor for name, tensor in _todays_names(library, bare).items()}, (*notes, _NORMALIZATION)


def _todays_names(library: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the library's earlier names replaced, by the library itself."""
    seen: dict[str, Tensor] = {}
    library.register_load_state_dict_pre_hook(lambda _module, renamed, *_: seen.update(renamed))
    # Only the names are wanted; what does not fit the network is refused, with our message, when it is loaded in earnest.
    with suppress(RuntimeError):
        library.load_state_dict(state, assign=True)
    return seen


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ImportFailed(f"{folder}: has no config.json, so it is no folder that save_pretrained wrote") from error
    except ValueError as error:
        raise ImportFailed(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict) or "_model_class" not in config:
        raise ImportFailed(f"{path}: has no _model_class, so it is not of segmentation_models.pytorch")
    if (name := config["_model_class"]) not in _ARCHITECTURES:
        raise ImportFailed(f"{folder}: is a {name}, which is no DeepLab{nearest(str(name), _ARCHITECTURES)}")
    if absent := [key for key in ("encoder_name", "encoder_output_stride") if key not in config]:
        raise ImportFailed(f"{path}: lacks {', '.join(absent)}")
    return config
