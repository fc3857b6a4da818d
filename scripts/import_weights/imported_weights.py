"""Weights of any source, and the way from them to a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import CheckpointMetadata, ModelConfig, build_model, load_state_dict, save_checkpoint
from model.palette import voc_palette
from scripts.errors import UserError
from scripts.import_weights.classifier import fit_classes, reinitialize

#: An evaluation holds only while these are what they were.
_CONDITIONS = ("normalization", "resize")


class ImportFailed(UserError):
    """Weights cannot be imported."""


@dataclass(frozen=True)
class ImportedWeights:
    """What a source gives."""

    #: Where it comes from, for messages.
    source: str
    #: Tensors by the names that they have in the network.
    state: Mapping[str, Tensor]
    #: Which network; its number of classes is left to the class names.
    model: ModelConfig
    #: The other fields of `CheckpointMetadata` that the source knows.
    description: Mapping[str, Any]
    #: What was left out or changed, in sentences.
    notes: tuple[str, ...] = ()


def write_checkpoint(
    imported: ImportedWeights, given: Mapping[str, Any], out: Path, *, new_classifier: bool = False
) -> tuple[CheckpointMetadata, tuple[str, ...]]:
    """Write `imported` as a checkpoint to `out`.

    Args:
        given: fields of `CheckpointMetadata`, those of `normalization` and `resize` one by one, that take the place of the
            source's.
        new_classifier: begin new classifier layers, with random weights that are the same each time.

    Returns:
        What the checkpoint says of itself, and what a person should know.

    Raises:
        ImportFailed: neither the source nor `given` name the classes.
        ClassCountMismatch: the weights are for another number of classes.
        CheckpointError: names or shapes are not those of the network.
        ConfigurationError: the network cannot be built, or `given` does not fit it.
    """
    metadata = _describe(imported, given, new_classifier)
    if new_classifier:
        state, notes = reinitialize(imported.state, metadata.model)
        metadata = metadata.model_copy(update={"provenance": f"{metadata.provenance}; new classifier layers, not trained"})
    else:
        state, notes = fit_classes(imported.state, metadata.model, source=imported.source)
    with torch.device("meta"):
        network = build_model(metadata.model)
    load_state_dict(network, state, source=imported.source)
    save_checkpoint(out, network, metadata)
    return metadata, imported.notes + notes


def _describe(imported: ImportedWeights, given: Mapping[str, Any], new_classifier: bool) -> CheckpointMetadata:
    known = imported.description
    if not (classes := given.get("classes") or known.get("classes")):
        raise ImportFailed(f"{imported.source}: does not name its classes; --classes does")
    usual = {"license": "unknown", "provenance": f"imported from {imported.source}", "palette": voc_palette(len(classes))}
    data = {**usual, **known, **given, "model": {**imported.model.model_dump(), "num_classes": len(classes)}}
    if len(data["palette"]) != len(classes):
        data["palette"] = usual["palette"]
    for name in _CONDITIONS:
        data[name] = {**known.get(name, {}), **given.get(name, {})}
    if new_classifier or any(data[name] != known.get(name) for name in _CONDITIONS):
        data["evaluations"] = ()
    return CheckpointMetadata.parse(data, source="arguments")
