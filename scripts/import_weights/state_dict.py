"""Read state dicts of any network that can be built, and checkpoints to be given other classes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from model import ModelConfig, load_checkpoint
from scripts.import_weights.architecture_names import network_config
from scripts.import_weights.classifier import class_axes
from scripts.import_weights.imported_weights import ImportedWeights, ImportFailed
from scripts.import_weights.layouts import Layout
from scripts.import_weights.public_layouts import find_layout
from scripts.import_weights.smp_layout import DESCRIPTION, SmpLayout
from scripts.weight_files.candidates import Candidate, Fit, find_candidates, fit, list_names
from scripts.weight_files.tensor_maps import WeightsFile, read_weights

_AUXILIARY = "aux_classifier."


@dataclass(frozen=True)
class NetworkState:
    """A network's state dict, found in a file."""

    #: Its key in the file; empty at the top level.
    key: str
    #: Tensors by name in the network.
    tensors: Mapping[str, Tensor]
    model: ModelConfig
    notes: tuple[str, ...]


def read_state_dict(path: Path, arch: str, options: Mapping[str, Any], key: str | None = None) -> ImportedWeights:
    """Read the state dict of the network named by `arch` and `options` (see `network_config`) from the file at `path`.

    Args:
        key: which of several state dicts in the file to take, as named in the notes; None for the one that fits.

    Raises:
        ImportFailed: there is nothing under `key`.
        WeightsFileError: the file holds no state dict.
        ConfigurationError: the network does not exist.
    """
    model = network_config(arch, options)
    file = read_weights(path)
    layout = SmpLayout() if model.is_smp else find_layout(file, model)
    state = find_state(file, model, layout, key, options)
    source = f"{path.name} ({state.key})" if state.key else path.name
    return ImportedWeights(source, state.tensors, state.model, DESCRIPTION if model.is_smp else {}, state.notes)


def read_checkpoint(path: Path) -> ImportedWeights:
    """Read a checkpoint of this project.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    checkpoint = load_checkpoint(path)
    metadata = checkpoint.metadata
    return ImportedWeights(path.name, checkpoint.network.state_dict(), metadata.model, metadata.model_dump(exclude={"model"}))


def find_state(
    file: WeightsFile, model: ModelConfig, layout: Layout, key: str | None = None, options: Collection[str] = ()
) -> NetworkState:
    """Find the state dict of `model` in `file`.

    If none fits, the closest is returned; its names and shapes are refused when the checkpoint is written.

    Args:
        layout: the naming that the file follows.
        key: see `read_state_dict`.
        options: fields of `model` that the user set.

    Raises:
        ImportFailed: there is nothing under `key`, or no network of this project computes what the source's does.
    """
    tensors = {name: tensor for tensor_map in file.maps for name, tensor in tensor_map.tensors.items()}
    model = layout.configure(model, tensors, options)
    if not model.is_smp:
        model = model.model_copy(update={"auxiliary_head": True})
    expected = layout.expected_tensors(model)
    candidates = find_candidates(file.maps, expected, layout.rename)
    if not candidates:
        largest = max(file.maps, key=lambda tensor_map: len(tensor_map.tensors))
        return NetworkState(largest.key, largest.tensors, model.model_copy(update={"auxiliary_head": False}), file.notes)
    main = {name for name in expected if not name.startswith(_AUXILIARY)}
    axes = class_axes(model)
    selected = _select_candidates(key, candidates, file)
    fits = [
        (candidate, *_fit_candidate(candidate, layout.adopt(candidate.tensors, model), expected, axes))
        for candidate in selected
    ]
    complete = [entry for entry in fits if not entry[1].unexpected and entry[1].tensors.keys() >= main]
    candidate, best_fit, auxiliary_note = (complete or fits)[0]
    notes = [*file.notes, *_describe_choice(candidate, best_fit, [entry[0] for entry in complete])]
    notes += [*([auxiliary_note] if auxiliary_note else []), *layout.notes(model)]
    if not model.is_smp:
        model = model.model_copy(update={"auxiliary_head": any(name.startswith(_AUXILIARY) for name in best_fit.tensors)})
    tensors = {layout.prefix + name: tensor for name, tensor in {**best_fit.tensors, **best_fit.unexpected}.items()}
    return NetworkState(candidate.key, tensors, model, tuple(notes))


def _fit_candidate(
    candidate: Candidate, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], axes: Mapping[str, int]
) -> tuple[Fit, str | None]:
    """Fit the network, without its auxiliary head if that is missing or, as the returned note then says, does not fit."""
    head = {name for name in tensors if name.startswith(_AUXILIARY)}
    fault = _auxiliary_fault(head, tensors, expected, axes) if head else None
    if fault or not head:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in head}
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith(_AUXILIARY)}
    note = f"the auxiliary head, which only training uses, is left out: {fault}" if fault else None
    return fit(candidate, tensors, expected), note


def _auxiliary_fault(
    head: Collection[str], tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], axes: Mapping[str, int]
) -> str | None:
    """Return why an auxiliary head does not fit, or None if it does."""
    needed = {name for name in expected if name.startswith(_AUXILIARY) and not name.endswith("num_batches_tracked")}
    if not needed <= set(head) or not set(head) <= expected.keys():
        return "it has other layers than the one here"
    head_counts, network_counts = (
        {tensors[name].shape[axis] for name, axis in axes.items() if name in tensors and (name in head) == in_head}
        for in_head in (True, False)
    )
    if head_counts != network_counts:
        head_text, network_text = (", ".join(map(str, sorted(counts))) for counts in (head_counts, network_counts))
        return f"it is for {head_text} classes, the network for {network_text}"
    if any(tensors[name].shape != expected[name].shape for name in needed - axes.keys()):
        return "its layers have other sizes than those here"
    return None


def _select_candidates(key: str | None, candidates: Sequence[Candidate], file: WeightsFile) -> list[Candidate]:
    if key is None:
        return list(candidates)
    selected = [candidate for candidate in candidates if key in (candidate.key, candidate.map_key)]
    if not selected:
        keys = ", ".join(candidate.key or "(the top)" for candidate in candidates)
        raise ImportFailed(f"{file.path}: no weights of this network under --key {key}; they are under {keys}")
    return selected


def _describe_choice(candidate: Candidate, best_fit: Fit, complete: Sequence[Candidate]) -> list[str]:
    notes = []
    if alternatives := [f"--key {other.key}" for other in complete if other is not candidate and other.key]:
        place = candidate.key or "the top of the file"
        notes.append(f"these are the weights under {place}; others fit too: choose them with {' or '.join(alternatives)}")
    if candidate.prefixes:
        notes.append(f"removed from the names: {', '.join(candidate.prefixes)}")
    if best_fit.excluded:
        notes.append(f"left out, not part of the network: {list_names(best_fit.excluded)}")
    if best_fit.counters:
        notes.append(f"{best_fit.counters} batch counters (num_batches_tracked), used only in training, are absent: set to 0")
    return notes
