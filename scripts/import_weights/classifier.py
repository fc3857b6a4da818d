"""Adapt or replace the layers whose shape depends on the number of classes, in any architecture."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from model import ModelConfig, build_model, state_shapes
from scripts.errors import UserError

_SEED = 0


class ClassCountMismatch(UserError):
    """The weights' number of classes differs from the number of names."""


def class_axes(config: ModelConfig) -> dict[str, int]:
    """Return the class axis of every parameter whose shape depends on the number of classes, by name.

    They are found by building the network on the meta device again with one more class.
    """
    return _class_axes(config.model_dump_json())


@cache
def _class_axes(config_json: str) -> dict[str, int]:
    config = ModelConfig.model_validate_json(config_json)
    smaller, larger = state_shapes(config), state_shapes(config.model_copy(update={"num_classes": config.num_classes + 1}))
    sizes = {name: enumerate(zip(tensor.shape, larger[name].shape, strict=True)) for name, tensor in smaller.items()}
    return {name: axis for name, pairs in sizes.items() for axis, (size, larger_size) in pairs if size != larger_size}


def reinitialize(state: Mapping[str, Tensor], config: ModelConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return `state` with deterministic new classifier layers for `config`, and a note that names them."""
    axes = class_axes(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        new_state = build_model(config).state_dict()
    note = f"new layers with random weights: {_layers(axes)}; train the checkpoint before you use it"
    return {**state, **{name: new_state[name] for name in axes}}, (note,)


def fit_classes(state: Mapping[str, Tensor], config: ModelConfig, *, source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return `state` adapted to the classes of `config`, and notes on what was changed.

    The single logit x of a one-class network becomes two, 0 and x: their softmax is the sigmoid of x.

    Raises:
        ClassCountMismatch: `state` is for a different number of classes.
    """
    axes = class_axes(config)
    counts = {state[name].shape[axis] for name, axis in axes.items() if name in state and state[name].ndim > axis}
    if counts == {1} and config.num_classes == 2:
        two_logits = {name: torch.cat([torch.zeros_like(state[name]), state[name]], axis) for name, axis in axes.items()}
        note = f"one logit x, of class 1, has become two, 0 and x ({_layers(axes)}): their softmax is the sigmoid of x"
        return {**state, **two_logits}, (note,)
    if mismatched := counts - {config.num_classes}:
        counts_text = " and ".join(map(str, sorted(mismatched)))
        raise ClassCountMismatch(
            f"{source}: has weights for {counts_text} classes (in {_layers(axes)}), --classes names {config.num_classes}; name "
            f"{counts_text}, or replace the classifier with --reinitialize-classifier and train it"
        )
    return dict(state), ()


def _layers(axes: Mapping[str, int]) -> str:
    return ", ".join(sorted({name.rpartition(".")[0] for name in axes}))
