"""State dicts of this project's networks and of those it can build, and checkpoints as a start for others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model import load_checkpoint
from scripts.importing import smp
from scripts.importing.archs import network_config
from scripts.importing.foreign import Foreign
from scripts.importing.tensors import read_tensors


def read_state_dict(path: Path, arch: str, options: Mapping[str, Any]) -> Foreign:
    """The state dict at `path`, of the network that `arch` and `options` name (see `network_config`).

    Raises:
        ImportFailed: not a state dict.
        ConfigurationError: no such network.
    """
    model = network_config(arch, options)
    state = read_tensors(path)
    if model.architecture.startswith("smp_"):
        adopted, notes = smp.adopt(state, model)
        return Foreign(path.name, adopted, model, smp.DESCRIPTION, notes)
    auxiliary = any(name.startswith("aux_classifier.") for name in state)
    return Foreign(path.name, state, model.model_copy(update={"auxiliary_head": auxiliary}), {})


def read_checkpoint(path: Path) -> Foreign:
    """A checkpoint of this project.

    Raises:
        CheckpointError: it cannot be used.
    """
    checkpoint = load_checkpoint(path)
    described = checkpoint.metadata
    return Foreign(path.name, checkpoint.network.state_dict(), described.model, described.model_dump(exclude={"model"}))
