"""The layers whose shape depends on the number of classes, in any architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from model import ModelConfig, build_model
from scripts.errors import UserError

_SEED = 0


class ClassCountMismatch(UserError):
    """Weights are for another number of classes than there are names."""


def class_axes(config: ModelConfig) -> dict[str, int]:
    """The names of all parameters whose shape depends on the number of classes, each with the axis on which they lie.

    Found by building the network with one class more, on a device that holds no values.
    """
    with torch.device("meta"):
        own, other = (
            build_model(config.model_copy(update={"num_classes": config.num_classes + more})).state_dict() for more in (0, 1)
        )
    sizes = {name: enumerate(zip(tensor.shape, other[name].shape, strict=True)) for name, tensor in own.items()}
    return {name: axis for name, pairs in sizes.items() for axis, (mine, others) in pairs if mine != others}


def reinitialize(state: Mapping[str, Tensor], config: ModelConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`state` with new classifier layers for `config`, the same each time, and a sentence that names them."""
    axes = class_axes(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        fresh = build_model(config).state_dict()
    note = f"new layers, random: {_layers(axes)}; the checkpoint must be trained before it is of use"
    return {**state, **{name: fresh[name] for name in axes}}, (note,)


def fit_classes(state: Mapping[str, Tensor], config: ModelConfig, *, source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`state` for the classes of `config`, and what that took, in sentences.

    One logit x for one class against the background is turned into two, 0 and x: softmax gives what the sigmoid of x gave.

    Raises:
        ClassCountMismatch: if `state` is for any other number of classes.
    """
    axes = class_axes(config)
    counts = {state[name].shape[axis] for name, axis in axes.items() if name in state and state[name].ndim > axis}
    if counts == {1} and config.num_classes == 2:
        two = {name: torch.cat([torch.zeros_like(state[name]), state[name]], axis) for name, axis in axes.items()}
        note = f"one logit x, of class 1, has become two, 0 and x ({_layers(axes)}): softmax gives what its sigmoid gave"
        return {**state, **two}, (note,)
    if wrong := counts - {config.num_classes}:
        found = " and ".join(map(str, sorted(wrong)))
        raise ClassCountMismatch(
            f"{source}: has weights for {found} classes (in {_layers(axes)}), --classes names {config.num_classes}; name "
            f"{found}, or begin new classifier layers with --reinitialize-classifier and train them"
        )
    return dict(state), ()


def _layers(axes: Mapping[str, int]) -> str:
    return ", ".join(sorted({name.rpartition(".")[0] for name in axes}))
