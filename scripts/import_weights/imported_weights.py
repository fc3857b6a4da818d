"""Weights from any source, and how they become a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from model import CheckpointMetadata, ModelConfig, save_state
from model.palette import voc_palette
from scripts.errors import UserError
from scripts.import_weights.classifier import fit_classes, reinitialize

#: Recorded evaluations are only valid while these fields are unchanged.
_CONDITIONS = ("normalization", "resize")


class ImportFailed(UserError):
    """Weights cannot be imported."""


@dataclass(frozen=True)
class ImportedWeights:
    """Weights from a source, with the source's description of them."""

    #: The source's name, for messages.
    source: str
    #: Tensors by name in the network.
    state: Mapping[str, Tensor]
    #: The network; its number of classes comes from the class names.
    model: ModelConfig
    #: The other fields of `CheckpointMetadata` that the source provides.
    description: Mapping[str, Any]
    #: Sentences on what was left out or changed.
    notes: tuple[str, ...] = ()


def write_checkpoint(
    imported: ImportedWeights, overrides: Mapping[str, Any], out: Path, *, new_classifier: bool = False
) -> tuple[CheckpointMetadata, tuple[str, ...]]:
    """Write `imported` as a checkpoint to `out`.

    Args:
        overrides: fields of `CheckpointMetadata` that replace the source's; `normalization` and `resize` may be partial.
        new_classifier: replace the classifier layers by deterministic random ones.

    Returns:
        The checkpoint's metadata, and notes for the user.

    Raises:
        ImportFailed: neither the source nor `overrides` names the classes.
        ClassCountMismatch: the weights are for a different number of classes.
        CheckpointError: tensor names or shapes differ from the network's.
        ConfigurationError: the network cannot be built, or `overrides` do not fit it.
    """
    metadata = _describe(imported, overrides, new_classifier)
    if new_classifier:
        state, notes = reinitialize(imported.state, metadata.model)
        metadata = metadata.model_copy(update={"provenance": f"{metadata.provenance}; new classifier layers, not trained"})
    else:
        state, notes = fit_classes(imported.state, metadata.model, source=imported.source)
    save_state(out, state, metadata, source=imported.source)
    return metadata, imported.notes + notes


def _describe(imported: ImportedWeights, overrides: Mapping[str, Any], new_classifier: bool) -> CheckpointMetadata:
    description = imported.description
    if not (classes := overrides.get("classes") or description.get("classes")):
        raise ImportFailed(f"{imported.source}: does not name its classes; give --classes")
    defaults = {"license": "unknown", "provenance": f"imported from {imported.source}", "palette": voc_palette(len(classes))}
    data = {**defaults, **description, **overrides, "model": {**imported.model.model_dump(), "num_classes": len(classes)}}
    if len(data["palette"]) != len(classes):
        data["palette"] = defaults["palette"]
    for name in _CONDITIONS:
        data[name] = {**description.get(name, {}), **overrides.get(name, {})}
    if new_classifier or any(data[name] != description.get(name) for name in _CONDITIONS):
        data["evaluations"] = ()
    return CheckpointMetadata.parse(data, source="arguments")
