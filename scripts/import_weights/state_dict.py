"""Read state dicts of all networks that can be built, and checkpoints as a start for other classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model import load_checkpoint
from scripts.import_weights import smp
from scripts.import_weights.architecture_names import network_config
from scripts.import_weights.imported_weights import ImportedWeights
from scripts.import_weights.tensor_files import read_tensors


def read_state_dict(path: Path, arch: str, options: Mapping[str, Any]) -> ImportedWeights:
    """Read the state dict at `path`, of the network that `arch` and `options` name (see `network_config`).

    Raises:
        ImportFailed: the file is not a state dict.
        ConfigurationError: there is no such network.
    """
    model = network_config(arch, options)
    state = read_tensors(path)
    if model.is_smp:
        adopted, notes = smp.adopt(state, model)
        return ImportedWeights(path.name, adopted, model, smp.DESCRIPTION, notes)
    auxiliary = any(name.startswith("aux_classifier.") for name in state)
    return ImportedWeights(path.name, state, model.model_copy(update={"auxiliary_head": auxiliary}), {})


def read_checkpoint(path: Path) -> ImportedWeights:
    """Read a checkpoint of this project.

    Raises:
        CheckpointError: it cannot be used.
    """
    checkpoint = load_checkpoint(path)
    metadata = checkpoint.metadata
    return ImportedWeights(path.name, checkpoint.network.state_dict(), metadata.model, metadata.model_dump(exclude={"model"}))
